//! What a key is that a recipe leaves out, as the sources have it: serde's defaults and the types' own.

use super::types::{is_optional, kebab, named, says};
use serde_json::Value;
use std::collections::BTreeMap;
use syn::{
    BinOp, Expr, ExprStruct, Field, File, ImplItem, Item, Lit, Member, Stmt, Token, Type, UnOp, punctuated::Punctuated,
};

/// Nothing: no limit is set, nothing of the kind is done.
pub(super) const NOTHING: &str = "–";

/// What a key is that is left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Default {
    /// As the page says it.
    Said(String),
    /// The default of the type of that name.
    Of(String),
    /// The sources do not say it in a way that is read here.
    Unread,
}

/// The default of a field of the struct `of`; `table` and `said` are what serde is told of the struct and of the field.
pub(super) fn of_field(file: &File, of: &str, field: &Field, (table, said): (&str, &str)) -> Default {
    if is_optional(&field.ty) {
        return Default::Said(NOTHING.to_owned());
    }
    if let Some(path) = said.split(',').find_map(|part| part.strip_prefix("default=")) {
        let name = path.trim_matches('"');
        return function(file, name).and_then(|expr| read(file, &expr)).map_or(Default::Unread, Default::Said);
    }
    let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    if says(table, "default")
        && let Some(table) = own_default(file, of)
    {
        let is_it = |member: &Member| matches!(member, Member::Named(ident) if *ident == name);
        let value = table.fields.iter().find(|value| is_it(&value.member));
        return value.and_then(|value| read(file, &value.expr)).map_or(Default::Unread, Default::Said);
    }
    of_type(&field.ty)
}

/// The default of a type by itself.
fn of_type(ty: &Type) -> Default {
    let Some((name, _)) = named(ty) else { return Default::Said(NOTHING.to_owned()) };
    match name.as_str() {
        "bool" => Default::Said("false".to_owned()),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "f32" | "f64" => Default::Said("0".to_owned()),
        "String" | "PathBuf" | "Vec" | "BTreeMap" | "Map" | "Option" => Default::Said(NOTHING.to_owned()),
        _ => Default::Of(name),
    }
}

/// The words of an enum that is its default, where one is.
pub(super) fn of_choice(item: &syn::ItemEnum) -> Option<String> {
    let is_default =
        |variant: &&syn::Variant| variant.attrs.iter().any(|attribute| attribute.path().is_ident("default"));
    item.variants.iter().find(is_default).map(|variant| kebab(&variant.ident.to_string()))
}

/// A value, as the page says it.
pub(super) fn told(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Object(table) if table.is_empty() || table.values().all(Value::is_boolean) => NOTHING.to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(told).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// What a function without arguments comes to.
fn function(file: &File, name: &str) -> Option<Expr> {
    let tail = file.items.iter().find_map(|item| match item {
        Item::Fn(item) if item.sig.ident == name => item.block.stmts.last(),
        _ => None,
    });
    match tail {
        Some(Stmt::Expr(expr, None)) => Some(expr.clone()),
        _ => None,
    }
}

/// The struct that `impl Default` makes.
fn own_default(file: &File, of: &str) -> Option<ExprStruct> {
    let items = file.items.iter().find_map(|item| match item {
        Item::Impl(item)
            if item.trait_.as_ref().is_some_and(|(_, path, _)| path.is_ident("Default"))
                && named(&item.self_ty).is_some_and(|(name, _)| name == of) =>
        {
            Some(&item.items)
        }
        _ => None,
    })?;
    items.iter().find_map(|item| match item {
        ImplItem::Fn(item) => match item.block.stmts.last() {
            Some(Stmt::Expr(Expr::Struct(table), None)) => Some(table.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// An expression that names a value.
fn read(file: &File, expr: &Expr) -> Option<String> {
    let list = |items: &mut dyn Iterator<Item = &Expr>| {
        let items = items.map(|item| read(file, item)).collect::<Option<Vec<_>>>()?;
        Some(if items.is_empty() { NOTHING.to_owned() } else { format!("[{}]", items.join(", ")) })
    };
    match expr {
        Expr::Lit(literal) => Some(match &literal.lit {
            Lit::Str(text) => text.value(),
            Lit::Int(number) => number.base10_digits().to_owned(),
            Lit::Float(number) => number.base10_digits().to_owned(),
            Lit::Bool(value) => value.value.to_string(),
            _ => return None,
        }),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => Some(format!("-{}", read(file, &unary.expr)?)),
        Expr::Binary(binary) => {
            let number = |expr: &Expr| read(file, expr)?.parse::<u64>().ok();
            let (left, right) = (number(&binary.left)?, number(&binary.right)?);
            match binary.op {
                BinOp::Shl(_) => Some((left << right).to_string()),
                BinOp::Mul(_) => Some((left * right).to_string()),
                _ => None,
            }
        }
        Expr::Array(array) => list(&mut array.elems.iter()),
        Expr::Macro(call) if call.mac.path.is_ident("vec") => {
            let items = call.mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated).ok()?;
            list(&mut items.iter())
        }
        Expr::MethodCall(call) => read(file, &call.receiver),
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) if path.path.is_ident("Some") => read(file, call.args.first()?),
            Expr::Path(path) if path.path.segments.last()?.ident == "new" => Some(NOTHING.to_owned()),
            Expr::Path(path) => read(file, &function(file, &path.path.get_ident()?.to_string())?),
            _ => None,
        },
        Expr::Path(path) if path.path.is_ident("None") => Some(NOTHING.to_owned()),
        Expr::Path(path) if path.path.segments.len() > 1 => Some(kebab(&path.path.segments.last()?.ident.to_string())),
        Expr::Path(path) => {
            let name = path.path.get_ident()?;
            file.items.iter().find_map(|item| match item {
                Item::Const(item) if item.ident == *name => read(file, &item.expr),
                _ => None,
            })
        }
        _ => None,
    }
}

/// The defaults of all filters, by kind and key, as they are in force.
pub(super) fn of_filters() -> BTreeMap<&'static str, Value> {
    let of = |kind| {
        // These keys have to be there.
        let said = match kind {
            "verify" | "judge" | "vote" => serde_json::json!({ "on-unknown": "keep" }),
            "long-short" => serde_json::json!({ "boundary": 1 }),
            _ => serde_json::json!({}),
        };
        let config = distill_filters::FilterConfig::deserialize_as(kind, said).expect("a filter with nothing set");
        (kind, serde_json::to_value(&config).expect("JSON"))
    };
    distill_filters::FilterConfig::kinds().into_iter().map(of).collect()
}
