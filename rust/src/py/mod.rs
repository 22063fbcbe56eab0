//! The only module that knows PyO3: plain values across the boundary, every call out of the GIL.
//!
//! The contract is `python/vidhub/_core.pyi`, docstrings included; `stubtest` holds the two together.

mod camera_sim;
mod core;
mod errors;
mod frames;
mod json;
mod pages;
mod plans;
mod records;
mod values;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<camera_sim::CameraSim>()?;
    module.add_class::<core::Core>()?;
    module.add_class::<frames::FrameReader>()?;
    module.add_class::<frames::FrameUnit>()?;
    module.add_class::<json::JsonWriter>()?;
    module.add_class::<pages::CameraPage>()?;
    module.add_class::<values::Principal>()?;
    module.add_class::<values::CameraBasic>()?;
    module.add_class::<values::CameraCounts>()?;
    module.add_class::<values::CameraPoints>()?;
    module.add_class::<values::Decision>()?;
    module.add_class::<values::Event>()?;
    module.add_class::<records::PlainRecord>()?;
    module.add_class::<records::RecordBatch>()?;
    module.add_function(wrap_pyfunction!(records::record_rows, module)?)?;
    module.add_function(wrap_pyfunction!(core::validate_policies, module)?)
}
