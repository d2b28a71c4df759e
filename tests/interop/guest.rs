//! Another kernel: a virtual machine that boots it with nothing but a few programs of this machine, and does
//! what its serial port says. `./setup.sh interop` has put the kernel where it is looked for.
//!
//! It runs wherever programs do, since the processor is emulated (TCG): slowly, but with real packets.

use crate::daemon_support::{Space, run};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Where the kernel and its modules were unpacked.
const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/interop/kernel");
/// Modules that are loaded, and what they need.
const MODULES: &str = "virtio_pci virtio_net veth ipip sit ip6_tunnel fou fou6 geneve vxlan";
/// Programs of this machine that the guest has, rather than what busybox has by these names.
const PROGRAMS: [&str; 5] = ["sh", "ip", "ping", "tracepath", "iperf3"];
/// How long an order may take; the first answer comes when it has booted.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the line says that ends the answer to an order.
const END: &str = "@@ ";

/// A machine with a network device, `eth0`.
pub(crate) struct Guest {
    directory: PathBuf,
    qemu: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Guest {
    /// Boots one whose device is the TAP device `tap` of the namespace.
    pub(crate) fn boot(space: &Space, tap: &str, mac: &str) -> Guest {
        let directory = std::env::temp_dir().join(format!("{}-guest", space.name));
        let _ = fs::remove_dir_all(&directory);
        let (kernel, version) = kernel();
        let initramfs = initramfs(&directory, &version);
        let console = directory.join("console");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space.name, "qemu-system-x86_64"]);
        // What it sends is as it would be on a wire: no checksums are left, no super-frames passed on.
        let words = format!(
            "-accel tcg -m 512 -nodefaults -display none -no-reboot \
             -netdev tap,id=wire,ifname={tap},script=no,downscript=no,vnet_hdr=off \
             -device virtio-net-pci,netdev=wire,mac={mac},romfile= \
             -chardev stdio,id=orders -serial file:{} -serial chardev:orders -kernel {} -initrd {}",
            console.display(),
            kernel.display(),
            initramfs.display(),
        );
        command.args(words.split_whitespace());
        command.args(["-append", "console=ttyS0 quiet panic=-1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = command.spawn().expect("ip is there");
        let orders = qemu.stdin.take().expect("a pipe");
        let output = BufReader::new(qemu.stdout.take().expect("a pipe"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut guest = Guest { directory, qemu, orders, answers };
        guest.answer("boot");
        guest
    }

    /// Has it run a line of shell: whether that succeeded, and what it printed.
    pub(crate) fn says(&mut self, line: &str) -> (bool, String) {
        writeln!(self.orders, "{line}").expect("the guest is there");
        self.answer(line)
    }

    /// The same, which must succeed.
    pub(crate) fn must(&mut self, line: &str) -> String {
        let (is_done, said) = self.says(line);
        assert!(is_done, "in the guest, {line}: {said}");
        said
    }

    fn answer(&mut self, order: &str) -> (bool, String) {
        let mut said = String::new();
        loop {
            let Ok(line) = self.answers.recv_timeout(PATIENCE) else {
                let console = fs::read_to_string(self.directory.join("console"));
                panic!("no answer to {order:?}: {said}\n{}", console.unwrap_or_default());
            };
            if let Some(status) = line.strip_prefix(END) {
                return (status.trim() == "0", said.trim().to_owned());
            }
            said += line.trim_end();
            said.push('\n');
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The kernel's file, and its version.
fn kernel() -> (PathBuf, String) {
    let boot = fs::read_dir(Path::new(KERNEL).join("boot"));
    let mut boot = boot.expect("`./setup.sh interop` has unpacked a kernel");
    let kernel = boot.next().expect("a kernel").expect("it can be read").path();
    let name = kernel.file_name().expect("a name").to_string_lossy().into_owned();
    (kernel, name.strip_prefix("vmlinuz-").expect("a kernel").to_owned())
}

/// Makes the file system that the guest begins with.
fn initramfs(directory: &Path, version: &str) -> PathBuf {
    let root = directory.join("root");
    for place in ["bin", "dev", "proc", "sys", "run", "tmp", "etc", "modules"] {
        fs::create_dir_all(root.join(place)).expect("the temporary directory can be written");
    }
    fs::write(root.join("init"), include_str!("init")).expect("it can be written");
    run("chmod", &["+x", &root.join("init").display().to_string()]);
    copy(&which("busybox"), &root.join("bin/busybox"));
    for program in PROGRAMS {
        let path = which(program);
        copy(&path, &root.join("usr/bin").join(program));
        let libraries = run("ldd", &[&path]);
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            copy(library, &root.join(&library[1..]));
        }
    }
    for (module, number) in modules(version).iter().zip(10..) {
        let name = Path::new(module).file_name().expect("a name").to_string_lossy();
        copy(module, &root.join(format!("modules/{number}-{name}")));
    }
    let packed = directory.join("initramfs");
    let mut cpio = Command::new("cpio");
    cpio.args(["--quiet", "-0", "-o", "-H", "newc", "-D"]).arg(&root);
    let list = Command::new("find").arg(".").arg("-print0").current_dir(&root).output();
    let list = list.expect("find is there").stdout;
    let file = File::create(&packed).expect("it can be written");
    let mut cpio = cpio.stdin(Stdio::piped()).stdout(file).spawn().expect("cpio is installed");
    let mut input = cpio.stdin.take().expect("a pipe");
    input.write_all(&list).expect("cpio reads");
    drop(input);
    assert!(cpio.wait().expect("it is a child of ours").success());
    packed
}

/// The files of the modules, each behind those that it needs.
fn modules(version: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for module in MODULES.split_whitespace() {
        let said = run("modprobe", &["-d", KERNEL, "-S", version, "--show-depends", module]);
        for file in said.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            if !files.iter().any(|known| known == file.trim()) {
                files.push(file.trim().to_owned());
            }
        }
    }
    files
}

fn which(program: &str) -> String {
    run("sh", &["-c", &format!("command -v {program}")]).trim().to_owned()
}

fn copy(from: &str, to: &Path) {
    fs::create_dir_all(to.parent().expect("a directory")).expect("it can be made");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{from}: {error}"));
}
