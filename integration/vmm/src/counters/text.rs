//! Counters in the text form that Prometheus reads (its exposition format, version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{CLIENT_CALLS, Counters, HYPERCALLS, MACHINE};
use crate::name::VmName;

/// One metric: its kind, what it is, and a line for each set of labels.
struct Metric {
    kind: &'static str,
    help: String,
    lines: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// All metrics by name.
#[derive(Default)]
struct Metrics(BTreeMap<String, Metric>);

/// The counters of a VM that is called `name`, and that is in `state`, as Prometheus reads them: the
/// process is always there, the rest as far as there is a VM.
pub fn prometheus(
    name: Option<&VmName>,
    state: Option<&str>,
    counters: Option<&Counters>,
) -> String {
    let mut metrics = Metrics::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    metrics.gauge("pseries_vmm_info", "The VMM is there.", version, 1);
    if let Some(state) = state {
        let labels = vec![("state", state.to_owned())];
        metrics.gauge("pseries_vmm_vm_state", "There is a VM, in this state.", labels, 1);
    }
    for (of, counters) in counters.into_iter().flat_map(Counters::iter) {
        for (counter, &count) in counters {
            match of {
                MACHINE => metrics.of_machine(counter, count),
                HYPERCALLS => {
                    let labels = vec![("call", counter.clone())];
                    metrics.counter("hypercalls", "Hypercalls by name.", labels, count);
                }
                CLIENT_CALLS => {
                    let labels = vec![("service", counter.clone())];
                    let help = "Calls of the client interface by service.";
                    metrics.counter("client_calls", help, labels, count);
                }
                device => {
                    let labels = vec![("device", device.to_owned())];
                    let name = format!("device_{counter}");
                    metrics.counter(&name, &format!("{}.", help_of(counter)), labels, count);
                }
            }
        }
    }
    metrics.text(name)
}

/// What a device counts under this name.
fn help_of(counter: &str) -> &'static str {
    match counter {
        "read_ops" => "Requests to read that were done",
        "read_bytes" => "Bytes that were read",
        "write_ops" => "Requests to write that were done",
        "write_bytes" => "Bytes that were written",
        "flush_ops" => "Flushes that were done",
        "discard_ops" => "Requests to free or zero sectors that were done",
        "errors" => "Requests that the host could not do",
        "rx_frames" => "Frames that the guest received",
        "rx_bytes" => "Bytes of frames that the guest received",
        "rx_dropped" => "Frames for the guest that were dropped",
        "tx_frames" => "Frames that the guest sent",
        "tx_bytes" => "Bytes of frames that the guest sent",
        "tx_dropped" => "Frames of the guest that were dropped",
        _ => "Counted by a device",
    }
}

impl Metrics {
    fn add(&mut self, name: &str, kind: &'static str, help: &str, labels: Labels, value: u64) {
        let metric = self.0.entry(plain(name)).or_insert_with(|| Metric {
            kind,
            help: help.to_owned(),
            lines: Vec::new(),
        });
        metric.lines.push((labels, value));
    }

    fn gauge(&mut self, name: &str, help: &str, labels: Labels, value: u64) {
        self.add(name, "gauge", help, labels, value);
    }

    fn counter(&mut self, name: &str, help: &str, labels: Labels, value: u64) {
        self.add(&format!("pseries_vmm_{name}_total"), "counter", help, labels, value);
    }

    fn of_machine(&mut self, counter: &str, count: u64) {
        match (counter, counter.strip_prefix("exits_")) {
            (_, Some(cause)) => {
                let help = "How often CPUs left guest code, by cause.";
                self.counter("exits", help, vec![("cause", cause.to_owned())], count);
            }
            ("instructions", _) => {
                let help = "Instructions that CPUs executed.";
                self.counter("instructions", help, Vec::new(), count);
            }
            ("boots", _) => self.counter("boots", "Starts of the machine.", Vec::new(), count),
            ("client_call_us", _) => {
                let help = "Host time in calls of the client interface.";
                self.counter("client_call_microseconds", help, Vec::new(), count);
            }
            (other, _) => {
                let name = format!("pseries_vmm_{}", other.replace("_us", "_microseconds"));
                self.gauge(&name, "Of the machine.", Vec::new(), count);
            }
        }
    }

    fn text(self, vm: Option<&VmName>) -> String {
        let mut text = String::new();
        for (name, Metric { kind, help, lines }) in self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in lines {
                let vm = vm.map(|vm| ("vm", vm.to_string()));
                let labels: Vec<String> = vm
                    .into_iter()
                    .chain(labels)
                    .map(|(key, value)| format!("{key}=\"{}\"", quoted(&value)))
                    .collect();
                let _ = match labels.is_empty() {
                    true => writeln!(text, "{name} {value}"),
                    false => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
                };
            }
        }
        text
    }
}

type Labels = Vec<(&'static str, String)>;

/// What a name may have in it.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }).collect()
}

/// The value of a label.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_metrics() {
        let mut counters = Counters::default();
        counters.add(MACHINE, [("boots", 1), ("exits_hypercall", 4), ("exits_mmio_read", 5)]);
        counters.add(MACHINE, [("longest_client_call_us", 9)]);
        counters.add(HYPERCALLS, [("H_CEDE", 3)]);
        counters.add(CLIENT_CALLS, [("instance-to-path", 2)]);
        counters.add("disk0", [("read_bytes", 512)]);
        counters.add("disk.1", [("read_bytes", 1024), ("odd-name", 7)]);
        let name = "web1".parse().unwrap();
        let text = prometheus(Some(&name), Some("Running"), Some(&counters));
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "# HELP pseries_vmm_boots_total Starts of the machine.\n\
             # TYPE pseries_vmm_boots_total counter\n\
             pseries_vmm_boots_total{{vm=\"web1\"}} 1\n\
             # HELP pseries_vmm_client_calls_total Calls of the client interface by service.\n\
             # TYPE pseries_vmm_client_calls_total counter\n\
             pseries_vmm_client_calls_total{{vm=\"web1\",service=\"instance-to-path\"}} 2\n\
             # HELP pseries_vmm_device_odd_name_total Counted by a device.\n\
             # TYPE pseries_vmm_device_odd_name_total counter\n\
             pseries_vmm_device_odd_name_total{{vm=\"web1\",device=\"disk.1\"}} 7\n\
             # HELP pseries_vmm_device_read_bytes_total Bytes that were read.\n\
             # TYPE pseries_vmm_device_read_bytes_total counter\n\
             pseries_vmm_device_read_bytes_total{{vm=\"web1\",device=\"disk.1\"}} 1024\n\
             pseries_vmm_device_read_bytes_total{{vm=\"web1\",device=\"disk0\"}} 512\n\
             # HELP pseries_vmm_exits_total How often CPUs left guest code, by cause.\n\
             # TYPE pseries_vmm_exits_total counter\n\
             pseries_vmm_exits_total{{vm=\"web1\",cause=\"hypercall\"}} 4\n\
             pseries_vmm_exits_total{{vm=\"web1\",cause=\"mmio_read\"}} 5\n\
             # HELP pseries_vmm_hypercalls_total Hypercalls by name.\n\
             # TYPE pseries_vmm_hypercalls_total counter\n\
             pseries_vmm_hypercalls_total{{vm=\"web1\",call=\"H_CEDE\"}} 3\n\
             # HELP pseries_vmm_info The VMM is there.\n\
             # TYPE pseries_vmm_info gauge\n\
             pseries_vmm_info{{vm=\"web1\",version=\"{version}\"}} 1\n\
             # HELP pseries_vmm_longest_client_call_microseconds Of the machine.\n\
             # TYPE pseries_vmm_longest_client_call_microseconds gauge\n\
             pseries_vmm_longest_client_call_microseconds{{vm=\"web1\"}} 9\n\
             # HELP pseries_vmm_vm_state There is a VM, in this state.\n\
             # TYPE pseries_vmm_vm_state gauge\n\
             pseries_vmm_vm_state{{vm=\"web1\",state=\"Running\"}} 1\n"
        );
        assert_eq!(text, expected);
        // Without a VM, and without a name.
        let text = prometheus(None, None, None);
        assert_eq!(
            text.lines().last(),
            Some(&*format!("pseries_vmm_info{{version=\"{version}\"}} 1"))
        );
        assert_eq!(quoted("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
