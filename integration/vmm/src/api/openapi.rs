//! The API, described for programs: an OpenAPI document, made of the table of routes.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{Gives, ROOT, ROUTES, Route};

/// The document (OpenAPI 3.1), in JSON.
pub fn document() -> String {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let error = json!({
        "type": "array",
        "items": { "type": "string" },
        "description": "why, from the outermost reason to the innermost",
    });
    let mut paths = Map::new();
    for route in ROUTES {
        let method = route.method().as_str().to_ascii_lowercase();
        let mut operation = json!({
            "summary": route.summary,
            "operationId": route.name.replace(['.', '-'], "_"),
            "responses": responses(route, &mut generator),
        });
        if let Some(schema) = route.takes {
            let schema = schema(&mut generator);
            operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        }
        paths.insert(format!("/{}", route.name), json!({ method: operation }));
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Error".to_owned(), error);
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pseries-vmm",
            "description": "Cloud Hypervisor's API, as far as pseries machines have what it is about",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": format!("http://localhost{}", ROOT.trim_end_matches('/')) }],
        "paths": paths,
        "components": { "schemas": schemas },
    });
    // Maps of texts and numbers only.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn responses(route: &Route, generator: &mut schemars::SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let (schema, is_done) = match route.gives {
        Gives::Nothing => (None, true),
        // It is no path of this API.
        Gives::Text => (None, false),
        Gives::Json(schema) => (Some(schema), false),
        Gives::JsonIfRunning(schema) => (Some(schema), true),
    };
    if let Some(schema) = schema {
        let schema = schema(generator).to_value();
        let response = json!({ "description": "done", "content": content(schema) });
        responses.insert("200".to_owned(), response);
    }
    if is_done {
        let what = if schema.is_some() { "done, for the next start" } else { "done" };
        responses.insert("204".to_owned(), json!({ "description": what }));
    }
    for (status, when) in route.fails {
        let error = json!({ "$ref": "#/components/schemas/Error" });
        let response = json!({ "description": when, "content": content(error) });
        responses.insert(status.to_string(), response);
    }
    responses
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a document refers to is in it.
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(path)) = object.get("$ref") {
                    let path = path.strip_prefix('#').unwrap();
                    assert!(document.pointer(path).is_some(), "{path}");
                }
                object.values().for_each(|value| check(value, document));
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_whole() {
        let text = document();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["paths"].as_object().unwrap().len(), ROUTES.len());
        assert!(document["paths"]["/vm.create"]["put"]["requestBody"].is_object());
        assert!(document["components"]["schemas"]["VmConfig"].is_object());
        check(&document, &document);
    }
}
