//! What the configuration says of the log of conversations and its copies.

use std::net::SocketAddr;

use super::item::{Item, Read, quoted};

/// Where finished hours go: a bucket, or a folder by its whole path; nowhere if it is empty.
pub fn copy_to(item: &Item) -> Read<String> {
    let text = item.text()?;
    let is_bucket =
        text.strip_prefix("s3://").is_some_and(|bucket| !bucket.is_empty() && !bucket.starts_with('/'));
    if text.is_empty() || text.starts_with('/') || is_bucket {
        return Ok(text.to_owned());
    }
    item.wrong(
        format!("{} is neither a bucket nor a folder", quoted(text)),
        "write \"s3://bucket/prefix\", or the whole path of a folder like \"/mnt/archive/flows\"",
    )
}

/// A collector's address and port; none if it is empty.
pub fn collector(item: &Item) -> Read<Option<SocketAddr>> {
    let text = item.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).or_else(|_| {
        item.wrong(format!("{} is not an address and port", quoted(text)), "write it like \"10.0.0.5:4739\"")
    })
}

/// A name that can be part of a path.
pub fn box_name(item: &Item) -> Read<String> {
    let text = item.text()?;
    if text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return item.wrong(
            format!("{} cannot be part of a path", quoted(text)),
            "write up to 64 letters, digits, -, _ and .",
        );
    }
    Ok(text.to_owned())
}

/// A server's address, with how it is reached; Amazon's if it is empty.
pub fn endpoint(item: &Item) -> Read<String> {
    let text = item.text()?;
    if text.is_empty() || text.starts_with("https://") || text.starts_with("http://") {
        return Ok(text.to_owned());
    }
    item.wrong(
        format!("{} is no address of a server", quoted(text)),
        "write it like \"https://minio.example:9000\"",
    )
}
