//! Capture files there and back.
#![allow(clippy::unwrap_used)]

mod io;

use cableway::io::Port;
use cableway::io::pcap::{self, Pcap, PcapConfig};
use io::Worker;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::PortId;
use pipeline::stages::port::TRUNCATED;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

/// A file that is removed with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("io-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn config(link: Link) -> PcapConfig {
    PcapConfig { link, input: None, rate: None, output: None }
}

fn reading(link: Link, file: &Scratch) -> PcapConfig {
    PcapConfig { input: Some(file.0.clone()), ..config(link) }
}

fn frames() -> Vec<Vec<u8>> {
    [60, 1514, 9000, 65_550]
        .iter()
        .map(|&len| (0..len).map(|i| (i % 249) as u8).collect())
        .collect()
}

/// Everything that a port receives until nothing comes.
fn receive(port: &mut Pcap, worker: &mut Worker) -> Vec<Vec<u8>> {
    let (mut batch, mut frames) = (Batch::new(), Vec::new());
    io::until("the end of the file", || {
        worker.rx(port, &mut batch);
        for frame in batch.drain() {
            frames.push(frame.segments().flatten().copied().collect());
            frame.free(&mut worker.pool);
        }
        port.is_exhausted()
    });
    frames
}

#[test]
fn what_was_written_is_replayed() {
    let mut worker = Worker::new(256);
    for link in [Link::Ethernet, Link::Ip] {
        let file = Scratch::new(&format!("{link:?}.pcap"));
        let output = PcapConfig { output: Some(file.0.clone()), ..config(link) };
        let mut port = Pcap::open(output).unwrap();
        let mut queue: VecDeque<Frame> = frames()
            .iter()
            .map(|bytes| Frame::copied(bytes, &mut worker.pool, PortId(0)).unwrap())
            .collect();
        assert_eq!(worker.tx(&mut port, &mut queue), 4);
        port.close(&mut worker.cx(0));

        let mut port = Pcap::open(reading(link, &file)).unwrap();
        assert_eq!(receive(&mut port, &mut worker), frames());
        let paced = PcapConfig { rate: Some(1000), ..reading(link, &file) };
        assert_eq!(receive(&mut Pcap::open(paced).unwrap(), &mut worker), frames());

        for (number, bytes) in (1..).zip(frames()) {
            assert_eq!(pcap::frame(&file.0, number).unwrap(), (link, bytes));
        }
        let error = pcap::frame(&file.0, 5).unwrap_err().to_string();
        assert!(error.contains("there is no frame 5; the last one is 4"), "{error}");

        let other = if link == Link::Ip { Link::Ethernet } else { Link::Ip };
        let error = Pcap::open(reading(other, &file)).err().unwrap().to_string();
        assert!(error.contains("link type") && error.contains(".pcap"), "{error}");
    }
    worker.assert_all_chunks_are_back();
}

#[test]
fn pcapng_with_a_frame_cut_short() {
    let file = Scratch::new("cut.pcapng");
    let mut writer = PcapNgWriter::new(File::create(&file.0).unwrap()).unwrap();
    let interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
    writer.write_pcapng_block(interface).unwrap();
    for (data, original_len) in [(vec![1; 61], 61), (vec![2; 64], 1500), (vec![3; 99], 99)] {
        let timestamp = Duration::from_secs(1);
        let data = data.into();
        let options = Vec::new();
        let block = EnhancedPacketBlock { interface_id: 0, timestamp, original_len, data, options };
        writer.write_pcapng_block(block).unwrap();
    }
    let mut worker = Worker::new(64);
    let mut port = Pcap::open(reading(Link::Ethernet, &file)).unwrap();
    assert_eq!(receive(&mut port, &mut worker), [vec![1; 61], vec![3; 99]]);
    assert_eq!((worker.drops(TRUNCATED), worker.counters.received.get()), (1, 1));

    assert_eq!(pcap::frame(&file.0, 3).unwrap(), (Link::Ethernet, vec![3; 99]));
    let error = pcap::frame(&file.0, 2).unwrap_err().to_string();
    assert!(error.contains("of frame 2 only a part was captured"), "{error}");

    // As IP packets these frames make no sense.
    let mut port = Pcap::open(reading(Link::Ip, &file)).unwrap();
    let error = port.rx(&mut Batch::new(), &mut worker.cx(0)).unwrap_err().to_string();
    assert!(error.contains("cut.pcapng") && error.contains("link type"), "{error}");
    worker.assert_all_chunks_are_back();
}

#[test]
fn files_that_are_none() {
    let mut worker = Worker::new(64);
    let file = Scratch::new("broken.pcap");
    let missing = Pcap::open(reading(Link::Ip, &file)).err().unwrap().to_string();
    assert!(missing.contains("broken.pcap: cannot be opened"), "{missing}");
    for content in [&b""[..], b"abc", b"this is no capture file at all, is it?"] {
        fs::write(&file.0, content).unwrap();
        let error = Pcap::open(reading(Link::Ip, &file)).err().unwrap().to_string();
        assert!(error.contains("broken.pcap: not a pcap"), "{error}");
    }
    assert!(pcap::frame(&file.0, 1).unwrap_err().to_string().contains("not a pcap"));
    // Good until the middle of a frame.
    let output = PcapConfig { output: Some(file.0.clone()), ..config(Link::Ip) };
    let mut port = Pcap::open(output).unwrap();
    let frame = Frame::copied(&[0x45; 100], &mut worker.pool, PortId(0)).unwrap();
    worker.tx(&mut port, &mut VecDeque::from([frame]));
    port.close(&mut worker.cx(0));
    let whole = fs::read(&file.0).unwrap();
    fs::write(&file.0, &whole[..whole.len() - 1]).unwrap();
    let mut port = Pcap::open(reading(Link::Ip, &file)).unwrap();
    assert!(port.rx(&mut Batch::new(), &mut worker.cx(0)).is_err());
    worker.assert_all_chunks_are_back();
}
