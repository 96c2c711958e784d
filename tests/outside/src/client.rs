use mesh_tower::{Mesh, MeshBody};
use tower_service::Service;

async fn first_review() -> Result<http::StatusCode, Box<dyn std::error::Error>> {
    let mesh = Mesh::from_file("mesh.yaml")?;
    let request = http::Request::get("http://reviews/1").body(MeshBody::empty())?;
    let response = mesh.client().call(request).await?;
    Ok(response.status())
}
