//! Encoded frames for Python: the octets stay where they are, and are lent through the buffer protocol.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::error::{Error, ErrorKind, Result};
use crate::hub;
use crate::media::{MediaKind, Track};
use crate::sink::frames::{Frame, Wanted};

/// "everything", "keyframes" or "one_keyframe".
pub fn wanted(word: &str) -> Result<Wanted> {
    match word {
        "everything" => Ok(Wanted::Everything),
        "keyframes" => Ok(Wanted::Keyframes),
        "one_keyframe" => Ok(Wanted::OneKeyframe),
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            "WANTED_UNKNOWN",
            "say everything, keyframes or one_keyframe".to_owned(),
        )),
    }
}

#[pyclass(frozen, module = "vidhub._core")]
pub struct FrameReader {
    reader: hub::FrameReader,
}

impl From<hub::FrameReader> for FrameReader {
    fn from(reader: hub::FrameReader) -> Self {
        Self { reader }
    }
}

#[pymethods]
impl FrameReader {
    fn fd(&self) -> i32 {
        self.reader.fd()
    }

    #[pyo3(signature = (limit, /))]
    fn take(&self, py: Python<'_>, limit: usize) -> PyResult<Vec<FrameUnit>> {
        let frames = py.detach(|| self.reader.take(limit))?;
        Ok(frames.into_iter().map(|frame| FrameUnit { frame }).collect())
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.reader.close());
    }
}

#[pyclass(frozen, module = "vidhub._core")]
pub struct FrameUnit {
    frame: Frame,
}

impl FrameUnit {
    fn described(&self) -> Option<&Track> {
        self.frame.track()
    }

    fn size(&self) -> (u32, u32) {
        let picture = self.described().and_then(|track| track.parameters.picture());
        picture.map_or((0, 0), |(width, height, _)| (width, height))
    }
}

#[pymethods]
impl FrameUnit {
    #[getter]
    fn track(&self) -> usize {
        self.frame.unit.track
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.described().map(Track::kind) {
            Some(MediaKind::Video) => "video",
            Some(MediaKind::Audio) | None => "audio",
        }
    }

    #[getter]
    fn codec(&self) -> &'static str {
        self.described().map_or("", |track| track.codec.name())
    }

    #[getter]
    fn clock_rate_hz(&self) -> u32 {
        self.described().map_or(0, |track| track.clock_rate_hz)
    }

    #[getter]
    fn pts(&self) -> i64 {
        self.frame.unit.pts
    }

    #[getter]
    fn dts(&self) -> i64 {
        self.frame.unit.dts
    }

    #[getter]
    fn keyframe(&self) -> bool {
        self.frame.unit.keyframe
    }

    #[getter]
    fn generation(&self) -> u32 {
        self.frame.description.generation
    }

    #[getter]
    fn parameters(&self) -> Vec<u8> {
        self.frame.parameters()
    }

    #[getter]
    fn width(&self) -> u32 {
        self.size().0
    }

    #[getter]
    fn height(&self) -> u32 {
        self.size().1
    }

    #[getter]
    fn dropped_before(&self) -> u64 {
        self.frame.dropped_before
    }

    fn __len__(&self) -> usize {
        self.frame.unit.data.len()
    }

    /// The name of the buffer protocol in Python (PEP 688), which 3.11 does not give by itself.
    fn __buffer__<'py>(slf: &Bound<'py, Self>, _flags: c_int) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf)
    }

    /// Lends the octets, read-only. The view keeps this object, and so the octets, alive.
    ///
    /// # Safety
    /// Called by the interpreter with a `view` that it owns.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let data = &slf.get().frame.unit.data;
        let length = ffi::Py_ssize_t::try_from(data.len())?;
        let octets = data.as_ptr().cast_mut().cast();
        // SAFETY: `view` is the caller's to fill, or null, which is refused with BufferError. The octets live and stay as
        // they are for as long as the object, to which the view takes a reference; read-only means that nobody writes.
        match unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), octets, length, 1, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }
}
