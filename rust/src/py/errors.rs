//! Raises the classes of `vidhub.errors`, so that there is one hierarchy.

use pyo3::import_exception;
use pyo3::prelude::*;

use crate::error::{Error, ErrorKind};

import_exception!(vidhub.errors, InvalidArgument);
import_exception!(vidhub.errors, FailedPrecondition);
import_exception!(vidhub.errors, Unauthenticated);
import_exception!(vidhub.errors, PermissionDenied);
import_exception!(vidhub.errors, NotFound);
import_exception!(vidhub.errors, AlreadyExists);
import_exception!(vidhub.errors, Aborted);
import_exception!(vidhub.errors, OutOfRange);
import_exception!(vidhub.errors, ResourceExhausted);
import_exception!(vidhub.errors, Unavailable);
import_exception!(vidhub.errors, DeadlineExceeded);
import_exception!(vidhub.errors, Unimplemented);
import_exception!(vidhub.errors, Cancelled);
import_exception!(vidhub.errors, Internal);

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        let arguments = (error.reason(), error.message().to_owned());
        match error.kind() {
            ErrorKind::InvalidArgument => InvalidArgument::new_err(arguments),
            ErrorKind::FailedPrecondition => FailedPrecondition::new_err(arguments),
            ErrorKind::Unauthenticated => Unauthenticated::new_err(arguments),
            ErrorKind::PermissionDenied => PermissionDenied::new_err(arguments),
            ErrorKind::NotFound => NotFound::new_err(arguments),
            ErrorKind::AlreadyExists => AlreadyExists::new_err(arguments),
            ErrorKind::Aborted => Aborted::new_err(arguments),
            ErrorKind::OutOfRange => OutOfRange::new_err(arguments),
            ErrorKind::ResourceExhausted => ResourceExhausted::new_err(arguments),
            ErrorKind::Unavailable => Unavailable::new_err(arguments),
            ErrorKind::DeadlineExceeded => DeadlineExceeded::new_err(arguments),
            ErrorKind::Unimplemented => Unimplemented::new_err(arguments),
            ErrorKind::Cancelled => Cancelled::new_err(arguments),
            ErrorKind::Internal => Internal::new_err(arguments),
        }
    }
}
