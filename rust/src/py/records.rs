//! Records of an import: read, sealed and turned into rows by the hundred, without a Python object for each field.

use std::fmt::Write as _;
use std::ops::Range;

use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyString};

use super::values;
use crate::error::{Error, ErrorKind, Result};
use crate::registry;
use crate::wire::record::{self, Record, RecordStream};
use crate::wire::sealed::Sealer;

#[pyclass(frozen, module = "vidhub._core")]
pub struct PlainRecord {
    inner: Record,
    /// Asked for again and again: made once.
    id: Py<PyString>,
}

#[pymethods]
impl PlainRecord {
    #[getter]
    fn id(&self, py: Python<'_>) -> Py<PyString> {
        self.id.clone_ref(py)
    }

    #[getter]
    fn region_code(&self) -> &str {
        self.inner.region_code()
    }

    #[getter]
    fn industry(&self) -> &str {
        self.inner.industry()
    }

    #[getter]
    fn location(&self) -> (f64, f64, &str) {
        (self.inner.latitude, self.inner.longitude, self.inner.address())
    }

    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn place_category(&self) -> u8 {
        self.inner.place_category
    }

    #[getter]
    fn streams(&self) -> Vec<(u8, &str, &str, &str, u8)> {
        self.inner.streams().map(|one| (one.profile, one.url, one.username, one.password, one.transport)).collect()
    }

    #[getter]
    fn legal(&self) -> (&str, &str, &str, u32, &str, &str) {
        let record = &self.inner;
        (
            record.place_basis(),
            record.purpose(),
            record.scope(),
            record.retention_days,
            record.signage_text(),
            record.signage_date(),
        )
    }

    /// What is looked at in each record, in one go: (id, region code, industry, latitude, longitude, whether it has a sign).
    #[getter]
    fn brief(&self, py: Python<'_>) -> (Py<PyString>, &str, &str, f64, f64, bool) {
        let record = &self.inner;
        let has_sign = !record.signage_text().trim().is_empty() && !record.signage_date().is_empty();
        let id = self.id.clone_ref(py);
        (id, record.region_code(), record.industry(), record.latitude, record.longitude, has_sign)
    }

    #[getter]
    fn device_json(&self) -> &str {
        self.inner.device_json()
    }
}

/// The records of one request of `RegisterCameras`, where they lie.
#[pyclass(frozen, module = "vidhub._core")]
pub struct RecordBatch {
    message: PyBackedBytes,
    places: Vec<Range<usize>>,
    #[pyo3(get)]
    dry_run: bool,
}

#[pymethods]
impl RecordBatch {
    /// None when there is more in the request than records.
    #[staticmethod]
    #[pyo3(signature = (message, /))]
    fn of(message: PyBackedBytes) -> Option<Self> {
        let (places, dry_run) = record::batch(&message)?;
        Some(Self { message, places, dry_run })
    }

    fn __len__(&self) -> usize {
        self.places.len()
    }

    /// Of the records from `start` to before `end` those that keep every rule beyond doubt; of the others the octets.
    #[pyo3(signature = (start, end, unit_id, /))]
    fn read<'py>(&self, py: Python<'py>, start: usize, end: usize, unit_id: &str) -> PyResult<Bound<'py, PyList>> {
        let places = self.places.get(start..end.min(self.places.len())).unwrap_or_default();
        let octets = |place: &Range<usize>| self.message.get(place.clone()).unwrap_or_default();
        let found: Vec<Option<Record>> =
            py.detach(|| places.iter().map(|place| record::read(octets(place), unit_id)).collect());
        let list = PyList::empty(py);
        for (place, inner) in places.iter().zip(found) {
            match inner {
                Some(inner) => {
                    let id = PyString::new(py, inner.id()).unbind();
                    list.append(Bound::new(py, PlainRecord { inner, id })?)?;
                }
                None => list.append(PyBytes::new(py, octets(place)))?,
            }
        }
        Ok(list)
    }
}

/// (values of cameras, values of streams), flat, in the order that `_core.pyi` tells.
#[pyfunction]
#[pyo3(signature = (records, ids, head, key, /))]
pub fn record_rows<'py>(
    py: Python<'py>,
    records: Vec<Py<PlainRecord>>,
    ids: Vec<PyBackedStr>,
    head: [u8; 5],
    key: &[u8],
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    check_lengths(&records, ids.len())?;
    let passwords = py.detach(|| sealed(&records, &ids, head, key))?;
    let (cameras, streams) = (PyList::empty(py), PyList::empty(py));
    let mut passwords = passwords.iter();
    let mut shared: [Shared<'_, 'py>; 8] = Default::default();
    let [region, industry, basis, purpose, scope, sign, date, user] = &mut shared;
    for (record, id) in records.iter().map(|record| &record.get().inner).zip(ids) {
        let id = id.into_pyobject(py)?;
        cameras.append(&id)?;
        cameras.append(record.name())?;
        cameras.append(region.object(py, record.region_code()))?;
        cameras.append(industry.object(py, record.industry()))?;
        cameras.append(record.place_category)?;
        cameras.append(record.latitude)?;
        cameras.append(record.longitude)?;
        cameras.append(record.address())?;
        cameras.append(basis.object(py, record.place_basis()))?;
        cameras.append(purpose.object(py, record.purpose()))?;
        cameras.append(scope.object(py, record.scope()))?;
        cameras.append(record.retention_days)?;
        cameras.append(sign.object(py, record.signage_text()))?;
        cameras.append(date.object(py, record.signage_date()))?;
        cameras.append(record.device_json())?;
        for (stream, password) in record.streams().zip(&mut passwords) {
            streams.append(&id)?;
            streams.append(stream.profile)?;
            streams.append(stream.url)?;
            streams.append(user.object(py, stream.username))?;
            streams.append(PyBytes::new(py, password))?;
            streams.append(stream.transport)?;
        }
    }
    Ok((cameras, streams))
}

/// The passwords of all streams, in their order.
fn sealed(records: &[Py<PlainRecord>], ids: &[PyBackedStr], head: [u8; 5], key: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut sealer = Sealer::new(head, key)?;
    let mut found = Vec::with_capacity(2 * records.len());
    let mut context = String::new();
    for (record, id) in records.iter().zip(ids) {
        for stream in record.get().inner.streams() {
            context.clear();
            // Writing to a string does not fail.
            let _ = write!(context, "camera/{id}/{}", stream.profile);
            found.push(sealer.seal(stream.password, &context)?);
        }
    }
    Ok(found)
}

/// A column that mostly says the same in one record after the other, as in the records of a school: one object for all
/// of them, which the driver then brings into UTF-8 once.
#[derive(Default)]
struct Shared<'a, 'py> {
    last: Option<(&'a str, Bound<'py, PyString>)>,
}

impl<'a, 'py> Shared<'a, 'py> {
    fn object(&mut self, py: Python<'py>, text: &'a str) -> Bound<'py, PyString> {
        match &self.last {
            Some((known, object)) if *known == text => object.clone(),
            _ => self.last.insert((text, PyString::new(py, text))).1.clone(),
        }
    }
}

/// The records as the registry takes them; needs no interpreter.
pub fn cameras(
    records: &[Py<PlainRecord>],
    ids: Vec<String>,
    unit_id: &str,
    revision: u64,
) -> Result<Vec<registry::Camera>> {
    check_lengths(records, ids.len())?;
    records.iter().zip(ids).map(|(record, id)| camera(&record.get().inner, id, unit_id, revision)).collect()
}

fn camera(record: &Record, id: String, unit_id: &str, revision: u64) -> Result<registry::Camera> {
    let stream = |one: RecordStream<'_>| {
        Ok(registry::CameraStream {
            profile: values::profile(one.profile)?,
            url: one.url.to_owned(),
            username: one.username.to_owned(),
            password: one.password.to_owned(),
            transport: one.transport,
        })
    };
    Ok(registry::Camera {
        id,
        name: record.name().to_owned(),
        unit_id: unit_id.to_owned(),
        region_code: record.region_code().to_owned(),
        industry: record.industry().to_owned(),
        place_category: record.place_category,
        latitude: record.latitude,
        longitude: record.longitude,
        quarantined: false,
        revision,
        streams: record.streams().map(stream).collect::<Result<_>>()?,
        home_hub_id: String::new(),
    })
}

fn check_lengths(records: &[Py<PlainRecord>], ids: usize) -> Result<()> {
    if records.len() == ids {
        return Ok(());
    }
    let message = format!("{} records and {ids} ids", records.len());
    Err(Error::new(ErrorKind::InvalidArgument, "RECORDS_WITHOUT_IDS", message))
}
