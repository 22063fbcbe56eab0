//! The core's own log on stderr: an event a line, in the form that the application's lines have (`vidhub/logs.py`).
//!
//! What libraries say (str0m above all, of what clients send) stands in the same form, under its `logger`, and is bounded:
//! whoever can make one complain shall not fill the disk. On the frame path nothing is logged.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Lines of libraries in `LIBRARY_WINDOW`; how many more there were is told with the next.
const MAX_LIBRARY_LINES: u32 = 20;
const LIBRARY_WINDOW: Duration = Duration::from_secs(60);
/// Of one value; the rest is cut off.
const MAX_VALUE_CHARS: usize = 1000;

/// Once a process, whichever hub is first. `filter`: for `EnvFilter`; what it does not name is told from warnings on.
pub(super) fn begin(filter: &str) {
    // Another subscriber, such as a test's, stays.
    let _ = tracing::subscriber::set_global_default(subscriber(filter, std::io::stderr));
}

fn subscriber<W>(filter: &str, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(filter);
    tracing_subscriber::fmt().event_format(Lines::default()).with_env_filter(filter).with_writer(writer).finish()
}

#[derive(Default)]
struct Lines {
    libraries: Mutex<Allowance>,
}

/// How much of what libraries say is told.
#[derive(Default)]
struct Allowance {
    since: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Allowance {
    /// Whether one more may be told, and with how many that were not since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= LIBRARY_WINDOW) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told == MAX_LIBRARY_LINES {
            self.left_out += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        let is_library = about.target().split("::").next() != module_path!().split("::").next();
        let left_out = if is_library {
            // Of what is not told there is an empty line, which is none.
            let Some(left_out) = self.libraries.lock().take(Instant::now()) else { return Ok(()) };
            left_out
        } else {
            0
        };
        let level = match *about.level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let mut said = Said::default();
        event.record(&mut said);
        line.write_str("timestamp=")?;
        SystemTime.format_time(&mut line)?;
        write!(line, " level={level} event={} logger={}{}", quoted(&said.event), about.target(), said.fields)?;
        if left_out > 0 {
            write!(line, " left_out={left_out}")?;
        }
        writeln!(line)
    }
}

/// An event's message and its fields, each behind a space.
#[derive(Default)]
struct Said {
    event: String,
    fields: String,
}

impl Said {
    fn put(&mut self, field: &Field, value: &str) {
        // Some have a field of that name too, behind it.
        if field.name() == "message" && self.event.is_empty() {
            self.event = value.to_owned();
        } else {
            // Writing into memory has no way to fail.
            let _ = write!(self.fields, " {}={}", field.name(), quoted(value));
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// A value as logfmt has it, on one line whatever is in it.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (count, character) in value.chars().enumerate() {
        match character {
            _ if count == MAX_VALUE_CHARS => {
                text.push('…');
                break;
            }
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            _ if character.is_control() => text.extend(character.escape_default()),
            _ => text.push(character),
        }
    }
    if text.contains([' ', '=', '"', '\\']) { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::{debug, error, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Paper {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written meanwhile, the time taken off, which stands in front of each line.
    fn written(call: impl FnOnce()) -> Vec<String> {
        let paper = Paper::default();
        let page = paper.clone();
        tracing::subscriber::with_default(subscriber("", move || page.clone()), call);
        let text = String::from_utf8(std::mem::take(&mut *paper.0.lock())).unwrap();
        let lines = text.lines().map(|line| {
            let (time, rest) = line.strip_prefix("timestamp=").unwrap().split_once(' ').unwrap();
            assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{time}");
            rest.to_owned()
        });
        lines.collect()
    }

    #[test]
    fn lines_of_the_core_and_of_libraries_have_the_applications_form() {
        let cause = std::io::Error::other("cut\noff");
        let lines = written(|| {
            let why = "it says nothing";
            warn!(camera = "c1", reason = %"CAMERA_SILENT", message = %why, again_in_ms = 250, "the source has failed");
            error!(%cause, left = ?["a b"], "broken");
            info!("not told");
            warn!(target: "str0m::sdp::parser", "Ignore remote PT change {} => {}", 96, 97);
            debug!(target: "str0m::ice", "not told");
        });
        assert_eq!(
            lines,
            [
                "level=warning event=\"the source has failed\" logger=_core::hub::log::tests camera=c1 \
                 reason=CAMERA_SILENT message=\"it says nothing\" again_in_ms=250",
                "level=error event=broken logger=_core::hub::log::tests cause=\"cut\\noff\" left=\"[\\\"a b\\\"]\"",
                "level=warning event=\"Ignore remote PT change 96 => 97\" logger=str0m::sdp::parser",
            ]
        );
    }

    #[test]
    fn what_clients_make_a_library_say_stays_on_its_line_and_is_cut_off() {
        let hostile = format!("a\r\nlevel=error event=forged \u{1b}[31m \"{}", "x".repeat(5000));
        let lines = written(|| warn!(target: "str0m", "{hostile}"));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.starts_with("level=warning event=\"a\\r\\nlevel=error"), "{line}");
        assert!(
            line.contains("\\u{1b}[31m \\\"xxx") && line.ends_with("…\" logger=str0m") && line.len() < 1200,
            "{line}"
        );
    }

    #[test]
    fn libraries_have_so_many_lines_a_minute_and_the_core_as_many_as_it_wants() {
        let lines = written(|| {
            (0..50).for_each(|_| warn!(target: "str0m::dtls", "noise"));
            (0..50).for_each(|_| warn!("ours"));
        });
        let of = |event: &str| lines.iter().filter(|line| line.contains(event)).count();
        assert_eq!((of("noise"), of("ours"), lines.len()), (20, 50, 70));
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let taken = (0..50).filter_map(|_| allowance.take(start)).count();
        assert_eq!(taken, 20);
        assert_eq!(allowance.take(start + LIBRARY_WINDOW - Duration::from_millis(1)), None);
        assert_eq!(allowance.take(start + LIBRARY_WINDOW), Some(31), "how many were left out is told once");
        assert_eq!(allowance.take(start + LIBRARY_WINDOW), Some(0));
    }
}
