//! Players of others against the RTSP server.
