//! The files of a package on disk. Only files of our own are written over or removed: their first line says so.

use std::{
    collections::BTreeMap,
    fs, io,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::MARK;
use crate::failure::Failure;

/// Writes a package, in the place of one that we wrote before.
pub(crate) fn replace(
    out: &Path,
    package: &str,
    files: &BTreeMap<PathBuf, String>,
) -> Result<(), Failure> {
    let root = out.join(package);
    let mut there = Vec::new();
    list(&root, &mut there).map_err(|error| cannot("read", &root, &error))?;
    let init = root.join("__init__.py");
    if !there.is_empty() && !there.contains(&init) {
        return Err(not_ours(
            &root,
            "it is there and has no __init__.py of ours",
        ));
    }
    if there.contains(&init) && !is_ours(&init)? {
        return Err(not_ours(
            &root,
            "its __init__.py was written by somebody else",
        ));
    }
    // Everything is looked at before anything is changed.
    let mut stale = Vec::new();
    for file in there {
        let wanted = file
            .strip_prefix(out)
            .is_ok_and(|inside| files.contains_key(inside));
        let ours = is_ours(&file)?;
        if wanted && !ours {
            return Err(not_ours(&file, "it was written by somebody else"));
        }
        if ours && !wanted {
            stale.push(file);
        }
    }
    for file in stale {
        fs::remove_file(&file).map_err(|error| cannot("remove", &file, &error))?;
        // The folders that it leaves empty; one that is not stays.
        let above = file.ancestors().skip(1);
        for folder in above.take_while(|folder| *folder != root) {
            let _ = fs::remove_dir_all(folder.join("__pycache__"));
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    for (file, text) in files {
        let file = out.join(file);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|error| cannot("make", folder, &error))?;
        }
        fs::write(&file, text).map_err(|error| cannot("write", &file, &error))?;
    }
    Ok(())
}

/// Every file in the folder and below, without Python's caches. No folder: none.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // A link is a file of somebody else, wherever it leads.
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "__pycache__" {
                list(&path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn is_ours(file: &Path) -> Result<bool, Failure> {
    let kind = fs::symlink_metadata(file).map_err(|error| cannot("read", file, &error))?;
    if !kind.is_file() {
        return Ok(false);
    }
    let open = fs::File::open(file).map_err(|error| cannot("read", file, &error))?;
    let mut first = Vec::new();
    let mut start = BufReader::new(io::Read::take(open, 200));
    start
        .read_until(b'\n', &mut first)
        .map_err(|error| cannot("read", file, &error))?;
    Ok(first.strip_suffix(b"\n") == Some(MARK.as_bytes()))
}

fn not_ours(path: &Path, why: &str) -> Failure {
    Failure::failed(format!(
        "{} is not a package of lovage stubs: {why}; choose another --package or --out, or remove it",
        path.display()
    ))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        texts
            .iter()
            .map(|(path, text)| (PathBuf::from(path), format!("{MARK}\n{text}\n")))
            .collect()
    }

    #[test]
    fn a_second_run_replaces_what_the_first_wrote() {
        let out = tempfile::tempdir().unwrap();
        let first = files(&[("p/__init__.py", "1"), ("p/a/b.py", "2"), ("p/c.py", "3")]);
        replace(out.path(), "p", &first).unwrap();
        fs::create_dir(out.path().join("p/a/__pycache__")).unwrap();
        fs::write(out.path().join("p/own.py"), "mine = 1\n").unwrap();
        let second = files(&[("p/__init__.py", "4"), ("p/c.py", "3")]);
        replace(out.path(), "p", &second).unwrap();
        let read = |path: &str| fs::read_to_string(out.path().join(path)).ok();
        assert_eq!(read("p/__init__.py"), Some(format!("{MARK}\n4\n")));
        assert_eq!(read("p/a/b.py"), None);
        assert!(!out.path().join("p/a").exists());
        assert_eq!(read("p/own.py").as_deref(), Some("mine = 1\n"));
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let check = |theirs: &str| {
            let out = tempfile::tempdir().unwrap();
            let path = out.path().join(theirs);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "theirs\n").unwrap();
            let ours = files(&[("p/__init__.py", "1"), ("p/c.py", "2")]);
            assert_eq!(replace(out.path(), "p", &ours).unwrap_err().tell(), 1);
            assert_eq!(fs::read_to_string(&path).unwrap(), "theirs\n");
            assert!(theirs == "p/c.py" || !out.path().join("p/c.py").exists());
        };
        check("p/__init__.py");
        check("p/c.py");
        check("p/other.txt");
    }

    #[test]
    fn a_file_of_theirs_among_ours_stops_it_before_anything_is_written() {
        let out = tempfile::tempdir().unwrap();
        replace(out.path(), "p", &files(&[("p/__init__.py", "1")])).unwrap();
        fs::write(out.path().join("p/c.py"), "theirs\n").unwrap();
        let next = files(&[("p/__init__.py", "2"), ("p/c.py", "2")]);
        assert!(replace(out.path(), "p", &next).is_err());
        let init = fs::read_to_string(out.path().join("p/__init__.py")).unwrap();
        assert_eq!(init, format!("{MARK}\n1\n"));
    }
}
