//! Names for containers that were given none: `adjective_noun`, from our own two lists (what a ship is like, what is at
//! sea). Called by the engine, which asks again when a name is taken; pure apart from the random source.

/// How it is.
const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "alert", "amber", "ample", "apt", "artful", "avid", "balmy", "bold", "brave", "breezy",
    "bright", "brisk", "calm", "candid", "canny", "careful", "cheery", "civil", "clear", "clever", "cosy", "crisp",
    "dapper", "daring", "deft", "eager", "earnest", "easy", "elated", "fair", "fancy", "fearless", "fleet", "fluent",
    "fond", "frank", "free", "fresh", "gallant", "game", "gentle", "giddy", "glad", "gleaming", "golden", "graceful",
    "grand", "hale", "handy", "happy", "hardy", "hearty", "honest", "hopeful", "humble", "ideal", "jaunty", "jolly",
    "jovial", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mighty", "mild", "modest",
    "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "prime", "prompt", "proud", "quick", "quiet",
    "rapid", "ready", "regal", "robust", "rosy", "sage", "sane", "serene", "sharp", "shiny", "silent", "silver",
    "sleek", "smart", "snug", "sober", "spry", "stable", "steady", "stout", "strong", "subtle", "sunny", "sure",
    "swift", "tidy", "timely", "tranquil", "trusty", "upbeat", "valiant", "vivid", "warm", "wary", "whole", "wise",
    "witty", "young", "zesty",
];

/// What it is.
const NOUNS: &[&str] = &[
    "albatross",
    "anchor",
    "anemone",
    "bark",
    "barnacle",
    "barque",
    "beacon",
    "beluga",
    "binnacle",
    "bollard",
    "bosun",
    "bowline",
    "bowsprit",
    "breaker",
    "breeze",
    "brig",
    "buoy",
    "cable",
    "capstan",
    "caravel",
    "cleat",
    "clipper",
    "cockle",
    "compass",
    "coral",
    "cormorant",
    "corvette",
    "coxswain",
    "current",
    "cutter",
    "davit",
    "dinghy",
    "dolphin",
    "dory",
    "drifter",
    "eddy",
    "estuary",
    "fathom",
    "fender",
    "ferry",
    "fjord",
    "foremast",
    "frigate",
    "galleon",
    "galley",
    "gannet",
    "grotto",
    "gull",
    "halyard",
    "harbour",
    "hatch",
    "haven",
    "hawser",
    "heron",
    "horizon",
    "hull",
    "inlet",
    "islet",
    "jetty",
    "jib",
    "kayak",
    "keel",
    "kelp",
    "ketch",
    "lagoon",
    "lantern",
    "ledger",
    "limpet",
    "longboat",
    "lugger",
    "mainsail",
    "manatee",
    "marlin",
    "mast",
    "mizzen",
    "mooring",
    "narwhal",
    "nautilus",
    "oar",
    "orca",
    "osprey",
    "otter",
    "paddle",
    "pelican",
    "pennant",
    "petrel",
    "pilot",
    "pinnace",
    "plover",
    "porpoise",
    "puffin",
    "quay",
    "rigging",
    "rudder",
    "sailor",
    "sandbar",
    "schooner",
    "scow",
    "sculler",
    "seal",
    "sextant",
    "shoal",
    "skiff",
    "skipper",
    "sloop",
    "sounding",
    "spar",
    "spinnaker",
    "starfish",
    "stern",
    "tern",
    "tiller",
    "topsail",
    "trawler",
    "tugboat",
    "turtle",
    "urchin",
    "wake",
    "walrus",
    "wharf",
    "whelk",
    "wherry",
    "windlass",
    "yawl",
];

/// A random name such as `brisk_puffin`; from the fourth attempt on with a digit, so that a crowded store still finds one.
///
/// # Panics
/// When the kernel has no random source.
pub fn adjective_name(attempt: u32) -> String {
    let mut raw = [0u8; 5];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut raw)
        .expect("getrandom(2) works on every kernel this program runs on");
    let adjective = ADJECTIVES[usize::from(u16::from_le_bytes([raw[0], raw[1]])) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(u16::from_le_bytes([raw[2], raw[3]])) % NOUNS.len()];
    match attempt {
        0..3 => format!("{adjective}_{noun}"),
        _ => format!("{adjective}_{noun}{}", raw[4] % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_container_names() {
        for word in ADJECTIVES.iter().chain(NOUNS) {
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
        let name = adjective_name(0);
        assert_eq!(name.split('_').count(), 2, "{name}");
        assert!(adjective_name(3).ends_with(|c: char| c.is_ascii_digit()));
        assert!(ADJECTIVES.len() * NOUNS.len() > 10_000);
    }
}
