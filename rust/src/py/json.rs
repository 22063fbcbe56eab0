//! Messages of the API as JSON (the mapping of proto3), ten times as fast as Python makes it.

use prost_reflect::{DescriptorPool, DynamicMessage};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::plans::Plans;
use crate::error::{Error, ErrorKind};

/// Octets of a message that is printed in some ten microseconds: beside a thread that is busy, getting the interpreter
/// back would take longer.
const MOST_ATTACHED: usize = 2048;

#[pyclass(frozen, module = "vidhub._core")]
pub struct JsonWriter {
    pool: DescriptorPool,
    plans: Plans,
}

#[pymethods]
impl JsonWriter {
    #[new]
    #[pyo3(signature = (files, /))]
    fn new(files: &[u8]) -> PyResult<Self> {
        let pool = DescriptorPool::decode(files).map_err(|cause| failed("DESCRIPTORS_INVALID", &cause.to_string()))?;
        let mut plans = Plans::default();
        for message in pool.all_messages() {
            plans.add(&message);
        }
        Ok(Self { pool, plans })
    }

    #[pyo3(signature = (name, message, /))]
    fn write<'py>(&self, py: Python<'py>, name: &str, message: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let print = || {
            if let Some(json) = self.plans.write(name, message) {
                return Ok(json);
            }
            let descriptor = self.pool.get_message_by_name(name).ok_or_else(|| failed("MESSAGE_UNKNOWN", name))?;
            let message = DynamicMessage::decode(descriptor, message)
                .map_err(|cause| failed("MESSAGE_INVALID", &cause.to_string()))?;
            serde_json::to_vec(&message).map_err(|cause| failed("MESSAGE_INVALID", &cause.to_string()))
        };
        let json = if message.len() > MOST_ATTACHED { py.detach(print)? } else { print()? };
        Ok(PyBytes::new(py, &json))
    }
}

fn failed(reason: &'static str, message: &str) -> Error {
    Error::new(ErrorKind::Internal, reason, message.to_owned())
}
