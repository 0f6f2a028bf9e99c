//! The pages of the applications, followed as they are written.

use tests::page::follow;

use crate::Outcome;

#[tokio::test]
async fn in_front_of_aiq() -> Outcome {
    follow("aiq").await
}

#[tokio::test]
async fn in_front_of_qaynaq() -> Outcome {
    follow("qaynaq").await
}

#[tokio::test]
async fn in_front_of_cq() -> Outcome {
    follow("cq").await
}
