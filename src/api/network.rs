//! `GET /networks/{id}`.

use serde_json::{Value, json};

use super::time;
use crate::engine::network::NetworkSummary;

pub fn to_json(network: &NetworkSummary) -> Value {
    json!({
        "Name": network.name, "Id": network.id, "Created": time::NEVER, "Scope": network.scope,
        "Driver": network.driver, "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": []},
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": {}, "Options": {}, "Labels": network.labels
    })
}
