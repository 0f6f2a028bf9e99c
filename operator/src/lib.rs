//! The controller.

pub mod bundle;
pub mod identity;
pub mod last_good;
pub mod leader;
pub mod push;
pub mod seal;
