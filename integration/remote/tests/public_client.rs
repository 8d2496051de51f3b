//! A public client of the API, from the registry, runs a guest: `cloud-hypervisor-client`, which is made
//! from Cloud Hypervisor's own OpenAPI document.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use cloud_hypervisor_client::apis::{DefaultApi, Error};
use cloud_hypervisor_client::models::{
    ConsoleConfig, ConsoleMode, CpusConfig, DiskConfig, MemoryConfig, PayloadConfig, RestoreConfig,
    SerialConfig, VmConfig, VmRemoveDevice, VmResize, VmSnapshotConfig, VmState,
};
use cloud_hypervisor_client::{SocketBasedApiClient, socket_based_api_client};

/// Only what hangs shows nothing for so long.
const LIMIT: Duration = Duration::from_secs(600);

/// A VMM that waits for requests.
struct Vmm {
    child: Child,
    console: Receiver<u8>,
    shown: String,
}

impl Vmm {
    fn start(socket: &Path) -> Self {
        // Beside this package's program: both are built with the workspace.
        let program = Path::new(env!("CARGO_BIN_EXE_pseries-remote")).with_file_name("pseries-vmm");
        assert!(program.exists(), "cargo build --package pseries-vmm comes first");
        let mut child = Command::new(program)
            .args(["--backend", "interp", "--api-socket"])
            .arg(format!("path={}", socket.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (send, console) = channel();
        thread::spawn(move || {
            let mut byte = [0];
            while stdout.read_exact(&mut byte).is_ok() && send.send(byte[0]).is_ok() {}
        });
        Self { child, console, shown: String::new() }
    }

    /// Waits until its console has shown this, after what was waited for before.
    fn expect(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let byte = self.console.recv_timeout(LIMIT);
            self.shown.push(byte.unwrap_or_else(|_| panic!("only {:?}", self.shown)).into());
        }
        self.shown.clear();
    }

    fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of this test; the path of a socket in it is short enough.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("client-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The status and text of what was refused.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String) {
    match answer {
        Err(Error::Api(error)) => (error.code.as_u16(), error.body),
        other => panic!("{other:?}"),
    }
}

async fn state(client: &SocketBasedApiClient) -> VmState {
    client.vm_info_get().await.unwrap().state
}

/// Waits until somebody answers.
async fn connect(path: &Path) -> SocketBasedApiClient {
    let client = socket_based_api_client(path);
    let ready = async {
        while client.vmm_ping_get().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, ready).await.unwrap();
    client
}

fn machine(folder: &Folder) -> VmConfig {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmm/tests/guests");
    let kernel = guests.join("client64.elf").to_str().unwrap().to_owned();
    let payload = PayloadConfig {
        kernel: Some(kernel),
        cmdline: Some("console".into()),
        ..Default::default()
    };
    VmConfig {
        cpus: Some(CpusConfig::new(1, 2)),
        memory: Some(MemoryConfig {
            hotplug_size: Some(256 << 20),
            ..MemoryConfig::new(256 << 20)
        }),
        disks: Some(vec![DiskConfig { path: Some(folder.path("a.raw")), ..DiskConfig::new() }]),
        serial: Some(SerialConfig::new(ConsoleMode::Tty)),
        console: Some(ConsoleConfig::new(ConsoleMode::Off)),
        ..VmConfig::new(payload)
    }
}

#[test]
fn a_public_client_runs_a_guest() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = Folder::new();
    for name in ["a.raw", "b.raw"] {
        File::create(folder.path(name)).unwrap().set_len(1 << 20).unwrap();
    }
    let path = folder.0.join("api.sock");
    let mut vmm = Vmm::start(&path);
    runtime.block_on(async {
        let client = connect(&path).await;
        let ping = client.vmm_ping_get().await.unwrap();
        assert_eq!(ping.pid, Some(vmm.child.id().into()));
        let (status, reason) = refusal(client.boot_vm().await);
        assert_eq!(status, 404, "{reason}");

        client.create_vm(machine(&folder)).await.unwrap();
        assert_eq!(state(&client).await, VmState::Created);
        client.boot_vm().await.unwrap();
        vmm.expect("echo\n");
        assert_eq!(state(&client).await, VmState::Running);
        let info = client.vm_info_get().await.unwrap();
        assert_eq!(info.memory_actual_size, Some(256 << 20));
        assert_eq!(info.config.cpus.unwrap().max_vcpus, 2);

        let resize = VmResize { desired_vcpus: Some(2), ..VmResize::new() };
        client.vm_resize_put(resize).await.unwrap();
        let disk = DiskConfig {
            path: Some(folder.path("b.raw")),
            id: Some("b".into()),
            ..DiskConfig::new()
        };
        assert_eq!(client.vm_add_disk_put(disk.clone()).await.unwrap().id, "b");
        let (status, reason) = refusal(client.vm_add_disk_put(disk).await);
        assert!((400..500).contains(&status), "{status}: {reason}");
        client.vm_remove_device_put(VmRemoveDevice { id: Some("b".into()) }).await.unwrap();
        let counters = client.vm_counters_get().await.unwrap();
        assert!(counters["_vm"]["exits_hypercall"] > 0, "{counters:?}");
        assert!(counters.contains_key("disk0"), "{counters:?}");
        assert!(counters["_client_calls"]["finddevice"] > 0, "{counters:?}");

        client.pause_vm().await.unwrap();
        assert_eq!(state(&client).await, VmState::Paused);
        // A paused one is looked at as well, and stands still: numbers are as they were.
        let first = client.vm_counters_get().await.unwrap();
        let second = client.vm_counters_get().await.unwrap();
        assert_eq!(first["_hypercalls"], second["_hypercalls"]);
        assert!(first["_vm"]["exits_hypercall"] >= counters["_vm"]["exits_hypercall"]);
        let saved = folder.path("saved");
        fs::create_dir(&saved).unwrap();
        let url = format!("file://{saved}");
        let snapshot = VmSnapshotConfig { destination_url: Some(url.clone()) };
        client.vm_snapshot_put(snapshot).await.unwrap();
        client.resume_vm().await.unwrap();
        vmm.type_in("on ");
        vmm.expect("on ");
        client.shutdown_vm().await.unwrap();
        client.delete_vm().await.unwrap();

        client.vm_restore_put(RestoreConfig::new(url)).await.unwrap();
        assert_eq!(state(&client).await, VmState::Paused);
        client.resume_vm().await.unwrap();
        vmm.type_in("again ");
        vmm.expect("again ");
        client.power_button_vm().await.unwrap();
        client.shutdown_vmm().await.unwrap();
    });
    assert_eq!(vmm.child.wait().unwrap().code(), Some(0));
    assert!(!path.exists(), "the socket is left");
}
