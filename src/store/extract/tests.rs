//! Tests of the extractor.
