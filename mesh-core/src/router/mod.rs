//! The router.
/// x
#[derive(Debug)]
pub struct Router; impl Router { /// x
 pub fn compile() {} }
