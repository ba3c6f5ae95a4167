//! What is kept on disk: blobs, layers, snapshots, volumes, container records, the index and the event journal.
