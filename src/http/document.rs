//! The API's document. It is made of the routes' own descriptions; what the edge and the layers answer around every handler is
//! written into it here, once.

pub(super) mod values;

use utoipa::{
    OpenApi as _,
    openapi::{
        Content, Header, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Response, Schema, Type,
        path::{Operation, Parameter},
        schema::SchemaType,
    },
};

use super::{RETRY_AFTER_S, problem};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "streamgauge",
    description = "Publishes events and reads what was counted. Errors are application/problem+json (RFC 9457), also those of \
                   no operation here: 404 for a path that there is not, 405 for a method that a path does not take, with the \
                   header Allow. Where there is GET there is HEAD. Query parameters and members of a body that are not named \
                   here are refused with 400, but for the routes of probes, which take any query."
))]
struct Document;

/// Answers of requests that come to no handler, or break off in one.
const ALL: [(&str, &str); 5] = [
    ("414", "Path and query have more than 65,534 bytes. Without a body"),
    ("431", "The head has more than 100 headers, or is too large. Without a body"),
    ("415", "The content-encoding is neither gzip nor absent"),
    ("500", "A defect, or what somebody must mend; the log says more"),
    ("503", "Too many requests are in flight, or this one was not finished in time; try again after Retry-After"),
];
/// Of these, what is answered before there is a request.
const WITHOUT_BODY: [&str; 2] = ["414", "431"];
/// Further ones, of requests with a body.
const WITH_BODY: [(&str, &str); 3] =
    [("400", "The request is wrong"), ("408", "The body did not come in time"), ("413", "Too large")];

/// The document before any route is in it.
pub(super) fn empty() -> OpenApi {
    Document::openapi()
}

/// Writes into the document what holds for every route.
pub(super) fn complete(document: &mut OpenApi) {
    document.paths.paths.values_mut().flat_map(operations).for_each(complete_operation);
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}

fn complete_operation(operation: &mut Operation) {
    let with_body = operation.request_body.as_ref().map_or(&WITH_BODY[..0], |_| &WITH_BODY[..]);
    operation.parameters.iter_mut().flatten().for_each(never_null);
    let responses = &mut operation.responses.responses;
    for (status, description) in ALL.iter().chain(with_body) {
        responses.entry((*status).to_owned()).or_insert_with(|| Response::new(*description).into());
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        if status.starts_with(['4', '5']) && !WITHOUT_BODY.contains(&&**status) {
            let of_problem = || Content::new(Some(Ref::from_schema_name("Problem"))).into();
            response.content.entry(problem::MEDIA_TYPE.to_owned()).or_insert_with(of_problem);
        }
        if problem::MAY_PASS.iter().any(|known| known.as_str() == status) {
            response.headers.insert("Retry-After".to_owned(), retry_after().into());
        }
    }
}

/// A parameter is there or not; only a member of a body can be null.
fn never_null(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(Parameter { schema: Some(RefOr::T(schema)), .. }) = parameter else { return };
    let is_null = |schema: &RefOr<Schema>| matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
    if let Schema::Object(object) = schema
        && let SchemaType::Array(types) = &mut object.schema_type
    {
        types.retain(|kind| *kind != Type::Null);
        if let [only] = &types[..] {
            object.schema_type = SchemaType::Type(only.clone());
        }
    } else if let Schema::OneOf(one_of) = schema {
        one_of.items.retain(|item| !is_null(item));
        if let [RefOr::T(only)] = &one_of.items[..] {
            *schema = only.clone();
        }
    }
}

fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(RETRY_AFTER_S));
    let mut header = Header::new(seconds);
    header.description = Some("After how many seconds it may be otherwise".to_owned());
    header
}
