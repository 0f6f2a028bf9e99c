//! The controller.

pub mod identity;
pub mod push;
pub mod seal;
