//! Tables over the attack corpus: each row names the row of the corpus, changes one thing of a good token, and is signed with the
//! right key unless the row is about the signature.

mod claims;
mod differential;
mod form;
mod principal;
mod random;
