//! The words of `docker ps`: "Up 2 hours (healthy)", "0.0.0.0:8080->80/tcp". The server composes them, so they belong to the wire.

use std::time::SystemTime;

use crate::engine::container::{HealthStatus, State, Status};
use crate::engine::spec::PortBinding;
use crate::stdx::human;

/// The status column.
pub fn status(state: &State, now: SystemTime) -> String {
    let since =
        |time: Option<SystemTime>| human::span(time.and_then(|time| now.duration_since(time).ok()).unwrap_or_default());
    let code = state.exit.as_ref().map_or(0, |exit| exit.code);
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited => format!("Exited ({code}) {} ago", since(state.finished_at)),
        Status::Restarting => format!("Restarting ({code}) {} ago", since(state.finished_at)),
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Running => match health(state.health.status) {
            "none" => format!("Up {}", since(state.started_at)),
            "starting" => format!("Up {} (health: starting)", since(state.started_at)),
            word => format!("Up {} ({word})", since(state.started_at)),
        },
    }
}

/// `none`, `starting`, `healthy`, `unhealthy`.
pub fn health(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::None => "none",
        HealthStatus::Starting => "starting",
        HealthStatus::Healthy => "healthy",
        HealthStatus::Unhealthy => "unhealthy",
    }
}

/// The ports column: published ones with their address, then exposed ones.
pub fn ports(ports: &[PortBinding]) -> String {
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by(|a, b| (a.container_port, &a.protocol, &a.host_ip).cmp(&(b.container_port, &b.protocol, &b.host_ip)));
    let word = |port: &&PortBinding| match port.host_port.filter(|host| *host != 0) {
        Some(host) => {
            let ip = port.host_ip.as_deref().unwrap_or("0.0.0.0");
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            format!("{ip}:{host}->{}/{}", port.container_port, port.protocol)
        }
        None => format!("{}/{}", port.container_port, port.protocol),
    };
    ports.iter().map(word).collect::<Vec<_>>().join(", ")
}
