//! `CameraSim` for Python: the camera of demos and of `vidhub camera-sim`.

use pyo3::prelude::*;

use crate::camera_sim::{CameraSim as Sim, SimCamera};

#[pyclass(frozen, module = "vidhub._core")]
pub struct CameraSim {
    sim: Sim,
}

#[pymethods]
impl CameraSim {
    #[new]
    #[pyo3(signature = (listen, cameras, username = "", password = "", /))]
    fn new(
        py: Python<'_>,
        listen: &str,
        cameras: Vec<(String, String, f64)>,
        username: &str,
        password: &str,
    ) -> PyResult<Self> {
        let cameras: Vec<SimCamera> = cameras
            .into_iter()
            .map(|(name, clip, frame_rate)| SimCamera { name, clip: clip.into(), frame_rate })
            .collect();
        Ok(Self { sim: py.detach(|| Sim::start(listen, &cameras, username, password))? })
    }

    fn address(&self) -> String {
        self.sim.address().to_string()
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.sim.stop());
    }
}
