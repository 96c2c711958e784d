use mesh_tower::{Mesh, MeshBody};
use tower::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::from_file("mesh.yaml")?;
    let request = http::Request::get("http://files/").body(MeshBody::empty())?;
    println!("{}", mesh.client().call(request).await?.status());
    Ok(())
}
