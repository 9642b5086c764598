//! Changes responses that are archived already.

use backlake::store::sha256;
use xxhash_rust::xxh3::xxh3_128;

use crate::harness::Site;

/// Adds a field to every archived item, as if the provider had sent it.
pub(crate) fn add_field(site: &Site, field: &str, value: impl Fn(usize) -> serde_json::Value) {
    let attempts = site.lake().join("_runs/2026-11-23/attempts");
    for entry in std::fs::read_dir(attempts).unwrap() {
        let path = entry.unwrap().path();
        let id = path.file_stem().unwrap().to_str().unwrap();
        let body = change_response(site, id, |response| {
            let items = response["tasks"][0]["result"][0]["items"]
                .as_array_mut()
                .unwrap();
            for (n, item) in items.iter_mut().enumerate() {
                item[field] = value(n);
            }
        });
        record_body(site, id, &body);
    }
}

/// Changes the ledger to say that an attempt has received this body.
pub(crate) fn record_body(site: &Site, id: &str, body: &[u8]) {
    change_attempt(site, id, |attempt| {
        attempt["body_bytes"] = body.len().into();
        attempt["body_sha256"] = sha256(body).into();
        attempt["body_xxh3"] = format!("{:032x}", xxh3_128(body)).into();
    });
}

/// Changes what the ledger says about an attempt.
pub(crate) fn change_attempt(
    site: &Site,
    id: &str,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) {
    let path = site
        .lake()
        .join(format!("_runs/2026-11-23/attempts/{id}.json"));
    let mut attempt = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut attempt);
    std::fs::write(path, serde_json::to_vec(&attempt).unwrap()).unwrap();
}

/// Changes the archived response to an attempt behind the ledger's back. Returns the new body.
pub(crate) fn change_response(
    site: &Site,
    id: &str,
    change: impl FnOnce(&mut serde_json::Value),
) -> Vec<u8> {
    let path = site
        .lake()
        .join(format!("_archive/2026-11-23/{id}.json.zst"));
    let body = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
    let mut response: serde_json::Value = serde_json::from_slice(&body).unwrap();
    change(&mut response);
    let body = serde_json::to_vec(&response).unwrap();
    std::fs::write(path, zstd::bulk::compress(&body, 3).unwrap()).unwrap();
    body
}
