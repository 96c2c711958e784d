//! Leaves of compiled files only what some messages are made of.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto,
    FileDescriptorSet, MessageOptions,
};
use std::collections::{BTreeMap, BTreeSet};

/// The files with what `roots` reach; an error when a root does not exist.
pub fn prune(set: FileDescriptorSet, roots: &[&str]) -> Result<FileDescriptorSet, String> {
    let mut fields = BTreeMap::new();
    for file in &set.file {
        let package = format!(".{}", file.package());
        file.message_type.iter().for_each(|message| index(&package, message, &mut fields));
    }
    let mut kept = BTreeSet::new();
    let mut open: Vec<String> = roots.iter().map(|root| format!(".{root}")).collect();
    for root in &open {
        if !fields.contains_key(root) {
            return Err(format!("there is no message {root}"));
        }
    }
    while let Some(name) = open.pop() {
        if kept.insert(name.clone()) {
            open.extend(fields.get(&name).into_iter().flatten().cloned());
        }
    }
    let mut files: Vec<_> = set.file.into_iter().filter_map(|file| shrink(file, &kept)).collect();
    let there: BTreeSet<String> = files.iter().map(|file| file.name().to_owned()).collect();
    for file in &mut files {
        file.dependency.retain(|name| there.contains(name));
    }
    Ok(FileDescriptorSet { file: files })
}

/// The types that each message names.
fn index(within: &str, message: &DescriptorProto, fields: &mut BTreeMap<String, Vec<String>>) {
    let name = format!("{within}.{}", message.name());
    let types = message.field.iter().filter(|field| field.type_name.is_some());
    fields.insert(name.clone(), types.map(|field| field.type_name().to_owned()).collect());
    message.nested_type.iter().for_each(|nested| index(&name, nested, fields));
}

fn shrink(file: FileDescriptorProto, kept: &BTreeSet<String>) -> Option<FileDescriptorProto> {
    let package = format!(".{}", file.package());
    let messages: Vec<_> =
        file.message_type.into_iter().filter_map(|one| message(&package, one, kept)).collect();
    let enums = enums(&package, file.enum_type, kept);
    (!messages.is_empty() || !enums.is_empty()).then(|| FileDescriptorProto {
        name: file.name,
        package: file.package,
        dependency: file.dependency,
        message_type: messages,
        enum_type: enums,
        syntax: file.syntax,
        ..FileDescriptorProto::default()
    })
}

/// A message that is needed, or that holds one that is: then without fields of its own.
fn message(within: &str, old: DescriptorProto, kept: &BTreeSet<String>) -> Option<DescriptorProto> {
    let name = format!("{within}.{}", old.name());
    let nested: Vec<_> =
        old.nested_type.into_iter().filter_map(|one| message(&name, one, kept)).collect();
    let enums = enums(&name, old.enum_type, kept);
    let needed = kept.contains(&name);
    if !needed && nested.is_empty() && enums.is_empty() {
        return None;
    }
    let map_entry = old.options.and_then(|options| options.map_entry);
    let mut new = DescriptorProto {
        name: old.name,
        nested_type: nested,
        enum_type: enums,
        options: map_entry.map(|_| MessageOptions { map_entry, ..MessageOptions::default() }),
        ..DescriptorProto::default()
    };
    if needed {
        new.field = old.field.into_iter().map(field).collect();
        new.oneof_decl = old.oneof_decl;
        new.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
    }
    Some(new)
}

fn field(old: FieldDescriptorProto) -> FieldDescriptorProto {
    let packed = old.options.as_ref().and_then(|options| options.packed);
    let deprecated = old.options.as_ref().and_then(|options| options.deprecated);
    let options = (packed.is_some() || deprecated.is_some()).then(|| FieldOptions {
        packed,
        deprecated,
        ..FieldOptions::default()
    });
    // The name in JSON is only said where it is not the one that follows from the name.
    let json_name =
        old.json_name.filter(|json| *json != lower_camel(old.name.as_deref().unwrap_or_default()));
    FieldDescriptorProto { options, json_name, ..old }
}

fn lower_camel(name: &str) -> String {
    let mut json = String::new();
    let mut raise = false;
    for letter in name.chars() {
        match letter {
            '_' => raise = true,
            _ if raise => {
                json.extend(letter.to_uppercase());
                raise = false;
            }
            _ => json.push(letter),
        }
    }
    json
}

fn enums(
    within: &str,
    old: Vec<EnumDescriptorProto>,
    kept: &BTreeSet<String>,
) -> Vec<EnumDescriptorProto> {
    let needed = old.into_iter().filter(|one| kept.contains(&format!("{within}.{}", one.name())));
    let plain = needed.map(|mut one| {
        one.options = one.options.filter(|options| options.allow_alias == Some(true));
        one.value.iter_mut().for_each(|value| value.options = None);
        one.reserved_range.clear();
        one.reserved_name.clear();
        one
    });
    plain.collect()
}
