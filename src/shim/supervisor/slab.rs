//! Things by key: a slot and the generation that used it, so that a late event for a thing that has gone finds nothing. Called by the loop.

/// Names one thing for as long as it is there. Fits 56 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    idx: u32,
    generation: u32,
}

const IDX_BITS: u32 = 20;
const IDX_MASK: u64 = (1 << IDX_BITS) - 1;

impl Key {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << IDX_BITS | u64::from(self.idx)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self { idx: (bits & IDX_MASK) as u32, generation: (bits >> IDX_BITS) as u32 }
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let idx = self.slots.iter().position(|(_, slot)| slot.is_none()).unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() - 1
        });
        let (generation, slot) = &mut self.slots[idx];
        *generation = generation.wrapping_add(1);
        *slot = Some(value);
        Key { idx: idx as u32, generation: *generation }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.idx as usize) {
            Some((generation, Some(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.idx as usize) {
            Some((generation, Some(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.slots[key.idx as usize].1.take()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(idx, (generation, slot))| {
            slot.as_ref().map(|value| (Key { idx: idx as u32, generation: *generation }, value))
        })
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_another_thing() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get(Key::from_bits(second.to_bits())), Some(&'b'));
        assert_eq!(slab.keys(), [second]);
    }
}
