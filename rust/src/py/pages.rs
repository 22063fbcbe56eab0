//! A page of cameras: rows of the registry, as values or written out as callers get them.

use std::collections::{BTreeSet, HashMap};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::values::{CameraBasic, profile_numbers};
use crate::registry::{self, Row};
use crate::wire::listing::Listed;
use crate::wire::protobuf::Writer;

#[pyclass(frozen, module = "vidhub._core")]
pub struct CameraPage {
    inner: registry::Page,
}

impl From<registry::Page> for CameraPage {
    fn from(inner: registry::Page) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl CameraPage {
    #[getter]
    fn cameras(&self) -> Vec<CameraBasic> {
        self.inner.rows.iter().map(CameraBasic::from).collect()
    }

    #[getter]
    fn next_after(&self) -> Option<&str> {
        self.inner.next_after.as_deref()
    }

    #[getter]
    fn total(&self) -> usize {
        self.inner.total
    }

    #[getter]
    fn epoch(&self) -> &str {
        &self.inner.epoch
    }

    #[getter]
    fn revision(&self) -> u64 {
        self.inner.revision
    }

    #[getter]
    fn unit_ids(&self) -> Vec<&str> {
        self.distinct(Row::unit_id)
    }

    #[getter]
    fn region_codes(&self) -> Vec<&str> {
        self.distinct(Row::region_code)
    }

    #[getter]
    fn foreign(&self) -> Vec<(&str, &str)> {
        let rows = self.inner.rows.iter().filter(|row| !row.home_hub_id().is_empty());
        rows.map(|row| (row.id(), row.unit_id())).collect()
    }

    #[pyo3(signature = (units, regions, foreign, /))]
    fn message<'py>(
        &self,
        py: Python<'py>,
        units: HashMap<String, String>,
        regions: HashMap<String, String>,
        foreign: HashMap<String, (bool, String)>,
    ) -> Bound<'py, PyBytes> {
        let message = py.detach(|| {
            let mut page = Writer::default();
            for row in &self.inner.rows {
                let own_unit = units.get(row.unit_id()).map_or("", |name| name);
                let (is_stale, unit_name) = match foreign.get(row.id()) {
                    Some((is_stale, name)) if name.is_empty() => (*is_stale, own_unit),
                    Some((is_stale, name)) => (*is_stale, name.as_str()),
                    None => (false, own_unit),
                };
                let region_name = regions.get(row.region_code()).map_or("", |name| name);
                listed(row, &self.inner.epoch, is_stale, unit_name, region_name).write(&mut page);
            }
            page.finish()
        });
        PyBytes::new(py, &message)
    }
}

impl CameraPage {
    fn distinct<'a>(&'a self, value: impl Fn(&'a Row) -> &'a str) -> Vec<&'a str> {
        self.inner.rows.iter().map(value).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn listed<'a>(row: &'a Row, epoch: &'a str, is_stale: bool, unit_name: &'a str, region_name: &'a str) -> Listed<'a> {
    let status = row.status();
    Listed {
        id: row.id(),
        name: row.name(),
        unit_id: row.unit_id(),
        region_code: row.region_code(),
        industry: row.industry(),
        place_category: row.place_category(),
        latitude: row.latitude(),
        longitude: row.longitude(),
        profiles: profile_numbers(row),
        state: status.state.number(),
        state_time: status.time,
        state_reason: &status.reason,
        epoch,
        revision: row.revision(),
        home_hub_id: row.home_hub_id(),
        is_stale,
        unit_name,
        region_name,
    }
}
