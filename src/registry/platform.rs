//! Which entry of an index runs here. Called by `resolve`; pure. An exact match wins; on arm an older variant does too, the newest of them.

use crate::oci::image::{Descriptor, Platform};

/// The entry to take for `wanted`, the first of the best.
pub(super) fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let ranked = entries.iter().filter_map(|entry| Some((rank(entry.platform.as_ref()?, wanted)?, entry)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
}

/// What there is, for people; attestations and other things without a real platform are left out.
pub(super) fn offered(entries: &[Descriptor]) -> Vec<String> {
    let real = entries.iter().filter_map(|entry| entry.platform.as_ref()).filter(|it| it.os != "unknown");
    let mut names: Vec<String> = real.map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether an image for `own` is what was asked for.
pub(super) fn satisfies(own: &Platform, wanted: &Platform) -> bool {
    rank(own, wanted).is_some()
}

/// Smaller is better; `None` does not run.
fn rank(own: &Platform, wanted: &Platform) -> Option<u32> {
    if own.os != wanted.os || own.architecture != wanted.architecture {
        return None;
    }
    let (has, asks) = (variant(own), variant(wanted));
    if has == asks {
        return Some(0);
    }
    match (level(&has), level(&asks)) {
        // v7 runs v6; amd64/v3 runs v2.
        (Some(has), Some(asks)) if has <= asks => Some(asks - has),
        _ => None,
    }
}

/// The variant with the one that goes without saying (containerd's normalisation).
fn variant(platform: &Platform) -> String {
    let given = platform.variant.as_deref().unwrap_or_default().to_ascii_lowercase();
    match (platform.architecture.as_str(), given.as_str()) {
        ("arm64", "" | "8") => "v8".to_owned(),
        ("arm", "") => "v7".to_owned(),
        ("amd64", "") => "v1".to_owned(),
        (_, digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => format!("v{digits}"),
        _ => given,
    }
}

fn level(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let entry = |(number, platform): (usize, &&str)| Descriptor {
            media_type: String::new(),
            digest: format!("sha256:{number:064}").parse().unwrap(),
            size: 1,
            platform: Some(platform.parse().unwrap()),
            annotations: None,
        };
        platforms.iter().enumerate().map(entry).collect()
    }

    fn check(entries: &[&str], wanted: &str, expected: Option<&str>) {
        let entries = index(entries);
        let found = choose(&entries, &wanted.parse().unwrap());
        assert_eq!(found.map(|it| it.platform.as_ref().unwrap().to_string()).as_deref(), expected, "{wanted}");
    }

    #[test]
    fn the_best_entry_is_taken() {
        let usual =
            ["linux/amd64", "unknown/unknown", "linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8"];
        check(&usual, "linux/amd64", Some("linux/amd64"));
        check(&usual, "linux/arm64", Some("linux/arm64/v8"));
        check(&usual, "linux/arm", Some("linux/arm/v7"));
        check(&usual, "linux/arm/v6", Some("linux/arm/v6"));
        check(&usual[..3], "linux/arm/v7", Some("linux/arm/v5"));
        check(&usual, "linux/s390x", None);
        check(&usual, "windows/amd64", None);
        check(&["linux/amd64/v3", "linux/amd64"], "linux/amd64", Some("linux/amd64"));
        check(&["linux/amd64/v3"], "linux/amd64", None);
        check(&["linux/arm/v7"], "linux/arm/v6", None);
        assert_eq!(offered(&index(&usual)).len(), 5);
    }
}
