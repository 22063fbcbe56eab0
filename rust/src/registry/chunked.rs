//! A vector whose copies share every chunk that was not written since: snapshots for the price of what changed.

use std::sync::Arc;

const CHUNK: usize = 64;

#[derive(Clone)]
pub struct Chunked<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Clone> Chunked<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, place: usize) -> Option<&T> {
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)
    }

    /// Copies the chunk first when a snapshot shares it.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        Arc::make_mut(self.chunks.get_mut(place / CHUNK)?).get_mut(place % CHUNK)
    }

    pub fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => Arc::make_mut(chunk).push(value),
            _ => self.chunks.push(Arc::new(vec![value])),
        }
        self.len += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_saw_and_shares_the_rest() {
        let mut now = Chunked::default();
        (0..200).for_each(|value| now.push(value));
        let before = now.clone();
        *now.get_mut(130).expect("within") = 0;
        now.push(200);
        assert_eq!(before.iter().copied().collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
        assert_eq!((now.get(130), now.get(200), now.get(201), now.len()), (Some(&0), Some(&200), None, 201));
        assert!(Arc::ptr_eq(&before.chunks[0], &now.chunks[0]));
        assert!(!Arc::ptr_eq(&before.chunks[2], &now.chunks[2]));
    }
}
