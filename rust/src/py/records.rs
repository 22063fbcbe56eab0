//! Records of an import: read, sealed and turned into rows by the hundred, without a Python object for each field.

use std::ops::Range;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString};
use serde::Serializer as _;

use super::values;
use crate::error::{Error, ErrorKind};
use crate::registry;
use crate::wire::record::{self, Record};
use crate::wire::sealed::Sealer;

#[pyclass(frozen, module = "vidhub._core")]
pub struct PlainRecord {
    inner: Arc<Record>,
}

#[pymethods]
impl PlainRecord {
    #[getter]
    fn id(&self) -> &str {
        &self.inner.id
    }

    #[getter]
    fn region_code(&self) -> &str {
        &self.inner.region_code
    }

    #[getter]
    fn industry(&self) -> &str {
        &self.inner.industry
    }

    #[getter]
    fn location(&self) -> (f64, f64, &str) {
        (self.inner.latitude, self.inner.longitude, &self.inner.address)
    }

    #[getter]
    fn name(&self) -> &str {
        &self.inner.name
    }

    #[getter]
    fn place_category(&self) -> u8 {
        self.inner.place_category
    }

    #[getter]
    fn streams(&self) -> Vec<values::StreamRow> {
        let row = |one: &record::RecordStream| {
            (one.profile, one.url.clone(), one.username.clone(), one.password.clone(), one.transport)
        };
        self.inner.streams.iter().map(row).collect()
    }

    #[getter]
    fn legal(&self) -> (&str, &str, &str, u32, &str, &str) {
        let record = &self.inner;
        (
            &record.place_basis,
            &record.purpose,
            &record.scope,
            record.retention_days,
            &record.signage_text,
            &record.signage_date,
        )
    }

    /// What is looked at in each record, in one go: (id, region code, industry, latitude, longitude, whether it has a sign).
    #[getter]
    fn brief(&self) -> (&str, &str, &str, f64, f64, bool) {
        let record = &self.inner;
        let has_sign = !record.signage_text.is_empty() && !record.signage_date.is_empty();
        (&record.id, &record.region_code, &record.industry, record.latitude, record.longitude, has_sign)
    }

    #[getter]
    fn device_json(&self) -> PyResult<String> {
        Ok(device_json(&self.inner)?)
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
        let found: Vec<Option<Arc<Record>>> =
            py.detach(|| places.iter().map(|place| record::read(octets(place), unit_id).map(Arc::new)).collect());
        let list = PyList::empty(py);
        for (place, inner) in places.iter().zip(found) {
            match inner {
                Some(inner) => list.append(Bound::new(py, PlainRecord { inner })?)?,
                None => list.append(PyBytes::new(py, octets(place)))?,
            }
        }
        Ok(list)
    }
}

/// What one record is in the store: its device as JSON, its passwords sealed.
type Sealed = (String, Vec<Vec<u8>>);

/// (values of cameras, values of streams), flat, in the order that `_core.pyi` tells.
#[pyfunction]
#[pyo3(signature = (records, ids, head, key, /))]
pub fn record_rows<'py>(
    py: Python<'py>,
    records: Vec<Py<PlainRecord>>,
    ids: Vec<String>,
    head: [u8; 5],
    key: &[u8],
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    let records = inner(&records, &ids)?;
    let sealed = py.detach(|| -> crate::error::Result<Vec<Sealed>> {
        let mut sealer = Sealer::new(head, key)?;
        let mut seal = |(record, id): (&Arc<Record>, &String)| {
            let passwords =
                record.streams.iter().map(|one| sealer.seal(&one.password, &format!("camera/{id}/{}", one.profile)));
            Ok((device_json(record)?, passwords.collect::<crate::error::Result<_>>()?))
        };
        records.iter().zip(&ids).map(&mut seal).collect()
    })?;
    let (cameras, streams) = (PyList::empty(py), PyList::empty(py));
    for ((record, id), (device, passwords)) in records.iter().zip(&ids).zip(&sealed) {
        let id = PyString::new(py, id);
        cameras.append(&id)?;
        cameras.append(&record.name)?;
        cameras.append(&record.region_code)?;
        cameras.append(&record.industry)?;
        cameras.append(record.place_category)?;
        cameras.append(record.latitude)?;
        cameras.append(record.longitude)?;
        cameras.append(&record.address)?;
        cameras.append(&record.place_basis)?;
        cameras.append(&record.purpose)?;
        cameras.append(&record.scope)?;
        cameras.append(record.retention_days)?;
        cameras.append(&record.signage_text)?;
        cameras.append(&record.signage_date)?;
        cameras.append(device)?;
        for (stream, password) in record.streams.iter().zip(passwords) {
            streams.append(&id)?;
            streams.append(stream.profile)?;
            streams.append(&stream.url)?;
            streams.append(&stream.username)?;
            streams.append(PyBytes::new(py, password))?;
            streams.append(stream.transport)?;
        }
    }
    Ok((cameras, streams))
}

/// The records as the registry takes them.
pub fn cameras(
    records: &[Py<PlainRecord>],
    ids: Vec<String>,
    unit_id: &str,
    revision: u64,
) -> PyResult<impl FnOnce() -> crate::error::Result<Vec<registry::Camera>> + Send> {
    let records = inner(records, &ids)?;
    let unit_id = unit_id.to_owned();
    Ok(move || records.iter().zip(ids).map(|(record, id)| camera(record, id, &unit_id, revision)).collect())
}

fn camera(record: &Record, id: String, unit_id: &str, revision: u64) -> crate::error::Result<registry::Camera> {
    let stream = |one: &record::RecordStream| {
        Ok(registry::CameraStream {
            profile: values::profile(one.profile)?,
            url: one.url.clone(),
            username: one.username.clone(),
            password: one.password.clone(),
            transport: one.transport,
        })
    };
    Ok(registry::Camera {
        id,
        name: record.name.clone(),
        unit_id: unit_id.to_owned(),
        region_code: record.region_code.clone(),
        industry: record.industry.clone(),
        place_category: record.place_category,
        latitude: record.latitude,
        longitude: record.longitude,
        quarantined: false,
        revision,
        streams: record.streams.iter().map(stream).collect::<crate::error::Result<_>>()?,
        home_hub_id: String::new(),
    })
}

fn inner(records: &[Py<PlainRecord>], ids: &[String]) -> PyResult<Vec<Arc<Record>>> {
    if records.len() != ids.len() {
        let message = format!("{} records and {} ids", records.len(), ids.len());
        return Err(Error::new(ErrorKind::InvalidArgument, "RECORDS_WITHOUT_IDS", message).into());
    }
    Ok(records.iter().map(|record| record.get().inner.clone()).collect())
}

fn device_json(record: &Record) -> crate::error::Result<String> {
    let mut json = Vec::with_capacity(512);
    let fields = record.device.iter().map(|(name, value)| (name, value));
    serde_json::Serializer::new(&mut json)
        .collect_map(fields)
        .ok()
        .and_then(|()| String::from_utf8(json).ok())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "RECORD_NOT_WRITTEN", "a device is no JSON"))
}
