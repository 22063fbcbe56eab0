//! The indexes: which slots hold a value, and all slots in order of id. Both are copied only where they change.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::RwLock;

use super::chunked::Chunked;

/// Room left in a list that grows; doubling would waste half of the memory of a registry that seldom does.
const SLACK: usize = 32;

/// A set of slots, one bit each.
#[derive(Clone, Default)]
pub struct Slots(Vec<u64>);

impl Slots {
    pub fn insert(&mut self, slot: u32) {
        let place = slot as usize / 64;
        if place >= self.0.len() {
            self.0.resize(place + 1, 0);
        }
        if let Some(word) = self.0.get_mut(place) {
            *word |= 1 << (slot % 64);
        }
    }

    pub fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn unite(&mut self, other: &Slots) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub fn narrow(&mut self, other: &Slots) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Keeps the slots that `wanted` holds for.
    pub fn retain(&mut self, mut wanted: impl FnMut(u32) -> bool) {
        for (place, word) in self.0.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                if !wanted(place as u32 * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }
}

impl FromIterator<u32> for Slots {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// Values, each with a small code for rows to hold and the sorted slots that hold it. Codes are never given anew, so the
/// map from value to code is shared by all snapshots: one that is older just does not have the newest codes.
#[derive(Clone)]
pub struct Index<K> {
    codes: Arc<RwLock<HashMap<K, u32>>>,
    values: Chunked<(K, Arc<Vec<u32>>)>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { codes: Arc::default(), values: Chunked::default() }
    }
}

impl<K: Clone + Eq + Hash> Index<K> {
    /// The code of a value, new if need be.
    pub fn code<Q>(&mut self, value: &Q, own: impl FnOnce(&Q) -> K) -> u32
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(code) = self.codes.read().get(value) {
            return *code;
        }
        let code = self.values.len() as u32;
        let value = own(value);
        self.values.push((value.clone(), Arc::default()));
        self.codes.write().insert(value, code);
        code
    }

    pub fn value(&self, code: u32) -> Option<&K> {
        self.values.get(code as usize).map(|(value, _)| value)
    }

    pub fn slots_of<Q>(&self, value: &Q) -> &[u32]
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let code = self.codes.read().get(value).copied();
        code.and_then(|code| self.values.get(code as usize)).map_or(&[], |(_, slots)| slots)
    }

    /// Every value that is in use, with its slots.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &[u32])> {
        self.values.iter().filter(|(_, slots)| !slots.is_empty()).map(|(value, slots)| (value, slots.as_slice()))
    }

    pub fn add(&mut self, code: u32, slot: u32) {
        let Some((_, slots)) = self.values.get_mut(code as usize) else { return };
        let slots = Arc::make_mut(slots);
        if slots.len() == slots.capacity() {
            slots.reserve_exact(SLACK.max(slots.len() / 16));
        }
        if slots.last().is_none_or(|last| *last < slot) {
            slots.push(slot);
        } else if let Err(place) = slots.binary_search(&slot) {
            slots.insert(place, slot);
        }
    }

    pub fn remove(&mut self, code: u32, slot: u32) {
        let Some((_, slots)) = self.values.get_mut(code as usize) else { return };
        let slots = Arc::make_mut(slots);
        if let Ok(place) = slots.binary_search(&slot) {
            slots.remove(place);
        }
    }

    /// Gives back the room that growing left over.
    pub fn shrink(&mut self) {
        for code in 0..self.values.len() {
            if let Some((_, slots)) = self.values.get_mut(code) {
                Arc::make_mut(slots).shrink_to_fit();
            }
        }
    }
}

const RUN: usize = 1024;

/// Every slot, in order of the id in it. Ids are compared through `id`, so that none is stored twice.
#[derive(Clone, Default)]
pub struct Order {
    runs: Vec<Arc<Vec<u32>>>,
}

/// A place in the order: which run, and where in it.
pub type Place = (usize, usize);

impl Order {
    pub fn from_sorted(slots: &[u32]) -> Self {
        Self { runs: slots.chunks(RUN / 2).map(|run| Arc::new(run.to_vec())).collect() }
    }

    /// Where `wanted` is, or where it would stand.
    pub fn find<'a>(&self, wanted: &str, id: impl Fn(u32) -> &'a str) -> std::result::Result<Place, Place> {
        let after = self.runs.partition_point(|run| run.first().is_some_and(|slot| id(*slot) <= wanted));
        let run = after.saturating_sub(1);
        let Some(slots) = self.runs.get(run) else { return Err((0, 0)) };
        slots.binary_search_by(|slot| id(*slot).cmp(wanted)).map(|place| (run, place)).map_err(|place| (run, place))
    }

    pub fn slot(&self, (run, place): Place) -> Option<u32> {
        self.runs.get(run)?.get(place).copied()
    }

    pub fn insert(&mut self, (run, place): Place, slot: u32) {
        let Some(slots) = self.runs.get_mut(run) else {
            self.runs.push(Arc::new(vec![slot]));
            return;
        };
        let slots = Arc::make_mut(slots);
        if slots.len() == slots.capacity() {
            slots.reserve_exact(SLACK);
        }
        slots.insert(place.min(slots.len()), slot);
        if slots.len() > RUN {
            let rest = slots.split_off(RUN / 2);
            slots.shrink_to_fit();
            self.runs.insert(run + 1, Arc::new(rest));
        }
    }

    pub fn remove(&mut self, (run, place): Place) {
        let Some(slots) = self.runs.get_mut(run) else { return };
        if place < slots.len() {
            Arc::make_mut(slots).remove(place);
        }
        if slots.is_empty() {
            self.runs.remove(run);
        }
    }

    /// The slots from a place on.
    pub fn from(&self, (run, place): Place) -> impl Iterator<Item = u32> {
        let runs = self.runs.get(run..).unwrap_or_default();
        runs.iter().flat_map(|run| run.iter().copied()).skip(place)
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.from((0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_remembers_values_and_sorted_slots() {
        let mut index: Index<Arc<str>> = Index::default();
        let a = index.code("a", |value| value.into());
        let older = index.clone();
        let b = index.code("b", |value| value.into());
        [7, 3, 5, 3].into_iter().for_each(|slot| index.add(a, slot));
        index.add(b, 1);
        index.remove(a, 5);
        assert_eq!(index.slots_of("a"), [3, 7]);
        assert_eq!(index.value(b).map(|value| &**value), Some("b"));
        assert!(older.slots_of("a").is_empty());
        assert!(older.slots_of("b").is_empty(), "a code newer than the snapshot means nothing to it");
        index.remove(b, 1);
        assert_eq!(index.iter().count(), 1);
    }

    #[test]
    fn the_order_holds_through_insertions_and_removals() {
        let ids: Vec<String> = (0..5000u32).map(|slot| format!("{:08}", slot.wrapping_mul(2_654_435_761))).collect();
        let id = |slot: u32| ids[slot as usize].as_str();
        let mut order = Order::default();
        for slot in 0..5000 {
            let place = order.find(id(slot), id).expect_err("not there yet");
            order.insert(place, slot);
        }
        for slot in (0..5000).step_by(3) {
            let place = order.find(id(slot), id).expect("there");
            order.remove(place);
        }
        let left: Vec<&str> = order.iter().map(id).collect();
        assert_eq!(left.len(), 3333);
        assert!(left.is_sorted());
        assert!(order.find("zzz", id).is_err_and(|place| order.from(place).next().is_none()));
    }

    #[test]
    fn sets_unite_narrow_and_retain() {
        let mut set: Slots = [1, 64, 700].into_iter().collect();
        set.unite(&[2, 900].into_iter().collect());
        assert_eq!(set.len(), 5);
        set.narrow(&[2, 64, 700].into_iter().collect());
        set.retain(|slot| slot != 64);
        assert!(set.contains(2) && set.contains(700) && !set.contains(64) && !set.contains(5000));
    }
}
