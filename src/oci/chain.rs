//! What docker calls a layer with all that lies below it: the chain id of the image spec, and the ids that its archives up to 24 give to
//! the directories of their layers. Called by `store` and `remote`. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::stdx::ids::Digest;

/// The chain ids of layers that lie on each other, bottom first (image-spec, "Layer ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(next);
    }
    chain
}

/// Which of `chain` the directory `hex` of a docker archive holds, told by its file `json`.
///
/// The directory is called by the digest of that document with the chain id in it (moby 20.10, image/v1/imagev1.go `CreateID`), so one
/// that fits is proof. The operating system is written into the document of all layers but the uppermost after the digest was taken.
pub fn layer_of_directory(hex: &str, document: &[u8], chain: &[Digest]) -> Option<usize> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(document).ok()?;
    fields.remove("id");
    if let Some(parent) = fields.get("parent") {
        let parent: String = serde_json::from_str(parent.get()).ok()?;
        fields.insert("parent".to_owned(), quoted(&format!("sha256:{parent}"))?);
    }
    let mut lower = fields.clone();
    lower.remove("os");
    let names = |fields: &mut BTreeMap<String, Box<RawValue>>, id: &Digest| {
        fields.insert("layer_id".to_owned(), quoted(id.as_str())?);
        Some(Digest::of(&serde_json::to_vec(fields).ok()?).hex() == hex)
    };
    chain.iter().position(|id| names(&mut lower, id) == Some(true) || names(&mut fields, id) == Some(true))
}

fn quoted(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(serde_json::to_string(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> Digest {
        format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap()
    }

    #[test]
    fn a_chain_id_holds_all_below() {
        let chain = chain_ids(&[digest('a'), digest('b')]);
        assert_eq!(chain[0], digest('a'));
        assert_eq!(chain[1], Digest::of(format!("{} {}", digest('a'), digest('b')).as_bytes()));
        assert!(chain_ids(&[]).is_empty());
    }

    /// Documents as dockerd 20.10 wrote them.
    #[test]
    fn a_directory_of_a_docker_archive_is_told_by_its_document() {
        let chain = [digest('a'), digest('b'), digest('c')];
        let made_of = |text: &str| Digest::of(text.as_bytes()).hex().to_owned();
        let created = r#""created":"1970-01-01T00:00:00Z""#;
        let below = made_of(&format!(r#"{{{created},"layer_id":"{}"}}"#, digest('a')));
        let document = format!(r#"{{"id":"{below}",{created},"os":"linux"}}"#);
        assert_eq!(layer_of_directory(&below, document.as_bytes(), &chain), Some(0));
        let (parent, layer) = (&below, digest('b'));
        let top = format!(r#"{{{created},"layer_id":"{layer}","os":"linux","parent":"sha256:{parent}"}}"#);
        let document = format!(r#"{{"id":"{}","parent":"{parent}",{created},"os":"linux"}}"#, made_of(&top));
        assert_eq!(layer_of_directory(&made_of(&top), document.as_bytes(), &chain), Some(1));
        assert_eq!(layer_of_directory(&below, document.as_bytes(), &chain), None);
        assert_eq!(layer_of_directory(&below, b"[]", &chain), None);
    }
}
