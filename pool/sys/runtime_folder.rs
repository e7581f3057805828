//! The folder for sockets of this user, which no other user can look into or put anything into.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The folder `multiproc` in the runtime folder of this user (`XDG_RUNTIME_DIR`), or `/tmp/multiproc-UID` where there is none.
/// It is made if it is not there.
///
/// # Errors
///
/// It belongs to somebody else, or others have rights in it, or it cannot be made.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let runtime = runtime.filter(|path| path.metadata().is_ok_and(|it| it.is_dir() && it.uid() == own));
    let folder = match runtime {
        Some(runtime) => runtime.join("multiproc"),
        None => PathBuf::from(format!("/tmp/multiproc-{own}")),
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io::Error::new(error.kind(), format!("no folder {}: {error}", folder.display())));
        }
        _ => {}
    }
    check(&folder, own)?;
    Ok(folder)
}

/// A link is none, wherever it leads: whoever has made it may change it.
fn check(folder: &Path, own: u32) -> io::Result<()> {
    let found = folder.symlink_metadata()?;
    if found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("{} must be a folder of this user, and of nobody else (mode 700)", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_folder_of_this_user_alone_will_do() {
        let own = rustix::process::geteuid().as_raw();
        let folder = std::env::temp_dir().join(format!("multiproc-folder-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        assert!(check(&folder, own).is_ok());
        assert_eq!(check(&folder, own + 1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let link = folder.join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(check(&link, own).is_err());
        std::fs::remove_file(link).unwrap();
        for mode in [0o710, 0o701, 0o755] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(check(&folder, own).is_err(), "{mode:o}");
        }
        std::fs::remove_dir(&folder).unwrap();
        assert!(check(&folder, own).is_err());
    }
}
