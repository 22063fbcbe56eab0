//! One consistent state of the whole registry. A write copies what it changes and shares the rest with what readers hold.

use std::sync::Arc;

use super::block::{BLOCK, Block, Codes, Fixed, Packed};
use super::chunked::Chunked;
use super::index::{Index, Order};
use super::row::Camera;

/// Hundredths of a degree: about a kilometre.
const CELLS_PER_DEGREE: f64 = 100.0;
const CELLS_AROUND: u32 = 36_000;
/// Of a camera whose position is no position.
const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Default)]
pub struct Snapshot {
    pub epoch: Arc<str>,
    pub revision: u64,
    pub len: usize,
    blocks: Chunked<Arc<Block>>,
    pub order: Order,
    pub units: Index<Arc<str>>,
    pub regions: Index<Arc<str>>,
    pub industries: Index<Arc<str>>,
    pub places: Index<u8>,
    /// Cells of a grid over the earth: they share memory with older snapshots, which an R-tree can't.
    pub cells: Index<u32>,
    /// Names only; nobody asks for the cameras of a hub.
    pub hubs: Index<Arc<str>>,
}

impl Snapshot {
    pub fn new(epoch: Arc<str>, revision: u64) -> Self {
        Self { epoch, revision, ..Self::default() }
    }

    /// The block and the place in it.
    pub fn row(&self, slot: u32) -> Option<(&Arc<Block>, usize)> {
        Some((self.blocks.get(slot as usize / BLOCK)?, slot as usize % BLOCK))
    }

    /// The fixed part of a row that is there.
    pub fn fixed(&self, slot: u32) -> Option<&Fixed> {
        let (block, place) = self.row(slot)?;
        block.fixed(place).filter(|fixed| fixed.live)
    }

    pub fn id(&self, slot: u32) -> &str {
        self.row(slot).map_or("", |(block, place)| block.id(place))
    }

    pub fn find(&self, id: &str) -> Option<u32> {
        self.order.find(id, |slot| self.id(slot)).ok().and_then(|place| self.order.slot(place))
    }

    /// Writes a row and its indexes; its place in the order is the caller's.
    pub fn put(&mut self, slot: u32, camera: &Camera, packed: &Packed, generation: u8) {
        let codes = Codes {
            unit: self.units.code(camera.unit_id.as_str(), |value| value.into()),
            region: self.regions.code(camera.region_code.as_str(), |value| value.into()),
            industry: self.industries.code(camera.industry.as_str(), |value| value.into()),
            hub: self.hubs.code(camera.home_hub_id.as_str(), |value| value.into()),
            cell: self.cells.code(&cell(camera.latitude, camera.longitude), |cell| *cell),
        };
        let place_code = self.places.code(&camera.place_category, |place| *place);
        let old = self.fixed(slot).copied();
        if old.is_none_or(|old| old.codes != codes || old.place_category != camera.place_category) {
            if let Some(old) = old {
                self.unlist(slot, &old);
            }
            self.units.add(codes.unit, slot);
            self.regions.add(codes.region, slot);
            self.industries.add(codes.industry, slot);
            self.cells.add(codes.cell, slot);
            self.places.add(place_code, slot);
        }
        let fixed = Fixed {
            latitude: camera.latitude,
            longitude: camera.longitude,
            revision: camera.revision,
            codes,
            place_category: camera.place_category,
            generation,
            quarantined: camera.quarantined,
            ..Fixed::default()
        };
        let number = slot as usize / BLOCK;
        while self.blocks.len() <= number {
            self.blocks.push(Arc::default());
        }
        if let Some(block) = self.blocks.get_mut(number) {
            Arc::make_mut(block).set(slot as usize % BLOCK, fixed, packed);
        }
        self.len += usize::from(old.is_none());
    }

    /// Removes a row and its place in the order.
    pub fn remove(&mut self, slot: u32) {
        let Some(old) = self.fixed(slot).copied() else { return };
        let id = self.id(slot).to_owned();
        if let Ok(place) = self.order.find(&id, |slot| self.id(slot)) {
            self.order.remove(place);
        }
        self.unlist(slot, &old);
        if let Some(block) = self.blocks.get_mut(slot as usize / BLOCK) {
            Arc::make_mut(block).clear(slot as usize % BLOCK);
        }
        self.len -= 1;
    }

    fn unlist(&mut self, slot: u32, old: &Fixed) {
        self.units.remove(old.codes.unit, slot);
        self.regions.remove(old.codes.region, slot);
        self.industries.remove(old.codes.industry, slot);
        self.cells.remove(old.codes.cell, slot);
        let place_code = self.places.code(&old.place_category, |place| *place);
        self.places.remove(place_code, slot);
    }

    /// Gives back the room that growing left over: in the blocks of these slots.
    pub fn shrink_blocks(&mut self, slots: impl IntoIterator<Item = u32>) {
        let mut last = None;
        for number in slots.into_iter().map(|slot| slot as usize / BLOCK) {
            if last.replace(number) != Some(number)
                && let Some(block) = self.blocks.get_mut(number)
            {
                Arc::make_mut(block).shrink();
            }
        }
    }

    /// Likewise in all indexes, after a load.
    pub fn shrink_indexes(&mut self) {
        self.units.shrink();
        self.regions.shrink();
        self.industries.shrink();
        self.places.shrink();
        self.cells.shrink();
    }
}

fn cell(latitude: f64, longitude: f64) -> u32 {
    if !(latitude.abs() <= 90.0 && longitude.abs() <= 180.0) {
        return NOWHERE;
    }
    let north = ((latitude + 90.0) * CELLS_PER_DEGREE) as u32;
    let east = ((longitude + 180.0) * CELLS_PER_DEGREE) as u32;
    north * CELLS_AROUND + east.min(CELLS_AROUND - 1)
}

/// The middle of a cell in degrees.
pub fn middle(cell: u32) -> Option<(f64, f64)> {
    let degrees = |steps: u32| (f64::from(steps) + 0.5) / CELLS_PER_DEGREE;
    (cell != NOWHERE).then(|| (degrees(cell / CELLS_AROUND) - 90.0, degrees(cell % CELLS_AROUND) - 180.0))
}

/// Half the width of a cell, and a little for rounding.
pub const HALF_CELL_DEGREES: f64 = 0.5 / CELLS_PER_DEGREE + 1e-6;
