//! What backlake relies on is tried before anything is paid: what a lake does not do is named, with exit
//! code 2, and nothing is left behind.

use std::sync::Arc;

use async_trait::async_trait;
use backlake::error::ErrorKind;
use backlake::pipeline::{CheckScope, RunMode, Surroundings, check, run};
use backlake::simulator::Behaviour;
use backlake::store::Store;
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::harness::{Site, mixed_targets as lines, simulator, surroundings};

/// What a store does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// It ignores the condition that an object must not exist.
    Create,
    /// It ignores the condition that an object is unchanged.
    Update,
    /// It says that it supports no conditions.
    Conditions,
    /// It does not delete, and says that it has.
    Delete,
    List,
    /// It permits nothing.
    Permission,
    /// No credentials are found, so the client asks the machine for some.
    Credentials,
}

#[derive(Debug)]
struct Lacking {
    inner: InMemory,
    lack: Lack,
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lacking")
    }
}

#[async_trait]
impl ObjectStore for Lacking {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let path = location.to_string();
        match (self.lack, &options.mode) {
            (Lack::Create, PutMode::Create) | (Lack::Update, PutMode::Update(_)) => {
                options.mode = PutMode::Overwrite;
            }
            (Lack::Conditions, PutMode::Create | PutMode::Update(_)) => {
                return Err(Error::NotImplemented {
                    operation: "conditional put".to_owned(),
                    implementer: "lacking".to_owned(),
                });
            }
            (Lack::Permission, _) => {
                let source = "403".into();
                return Err(Error::PermissionDenied { path, source });
            }
            (Lack::Credentials, _) => {
                let source = "error sending request for http://169.254.169.254/latest".into();
                return Err(Error::Generic {
                    store: "lacking",
                    source,
                });
            }
            _ => {}
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.lack {
            Lack::Delete => locations,
            _ => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.lack {
            Lack::List => stream::empty().boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        if self.lack == Lack::List {
            listed.objects.clear();
        }
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_store_does_not_do_is_named_before_anything_is_sent() {
    for (lack, named) in [
        (Lack::Create, "a write that must only create it"),
        (
            Lack::Update,
            "a write that must only replace an unchanged one",
        ),
        (Lack::Conditions, "does not support conditional writes"),
        (Lack::Delete, "deleted can still be read"),
        (Lack::List, "is not listed"),
        (Lack::Permission, "failed to write to"),
        (Lack::Credentials, "no credentials for"),
    ] {
        let site = Site::new(lines(300));
        let (simulator, clock) = simulator(Behaviour::default()).await;
        let inner = InMemory::new();
        let store = Arc::new(Lacking { inner, lack });
        let env = Surroundings {
            store: Some(Store::over(
                Arc::clone(&store) as Arc<dyn ObjectStore>,
                "lacking",
            )),
            ..surroundings(&simulator, &clock)
        };
        let pipeline = site.pipeline(&simulator.url());
        let checked = check(&pipeline, CheckScope::Setup, &env).await.unwrap_err();
        let ran = run(&pipeline, RunMode::default(), &env)
            .await
            .err()
            .unwrap();
        for error in [checked, ran] {
            assert_eq!(error.kind(), ErrorKind::Usage, "{lack:?}: {error}");
            let text = error.to_string();
            assert!(
                text.contains(named) && !text.contains("169.254"),
                "{lack:?}: {text}"
            );
        }
        assert_eq!(simulator.requests(), 0, "{lack:?}");
        let left: Vec<_> = store.inner.list(None).try_collect().await.unwrap();
        assert_eq!(left.is_empty(), lack != Lack::Delete, "{lack:?}: {left:?}");
        // It fails at once, not after minutes of trying.
        assert!(
            clock.running().as_secs() < 5,
            "{lack:?}: {:?}",
            clock.running()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_leaves_nothing_in_a_lake() {
    let site = Site::new(lines(300));
    assert!(site.program("run", &[]).status.success());
    let before = site.tree();
    assert!(site.program("check", &[]).status.success());
    assert!(site.tree() == before);
}

/// A table on another volume is found before anything is paid.
#[cfg(target_os = "linux")]
#[test]
fn a_table_on_another_volume_is_named() {
    use std::os::unix::fs::MetadataExt as _;

    let site = Site::new(lines(300));
    std::fs::create_dir(site.lake()).unwrap();
    let device = |path: &std::path::Path| std::fs::metadata(path).ok().map(|found| found.dev());
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    if device(other.path()) == device(&site.lake()) {
        return;
    }
    std::os::unix::fs::symlink(other.path(), site.lake().join("pages")).unwrap();
    for command in ["check", "run"] {
        let output = site.program(command, &[]);
        let said = crate::harness::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(
            said.contains("lake/pages") && said.contains("one volume"),
            "{said}"
        );
    }
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}
