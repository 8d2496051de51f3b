//! Changes of plain data: what was saved is not what comes back.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::input::Input;

/// Goes to a place of a state, and changes what is there.
pub(crate) fn change(state: &mut Value, input: &mut Input<'_>, ram_bytes: u64) {
    let how = input.byte();
    change_within(state, how % 8, how, input, ram_bytes);
}

/// So many steps further down, as far as there is something.
fn change_within(place: &mut Value, steps: u8, how: u8, input: &mut Input<'_>, ram_bytes: u64) {
    if steps > 0 {
        let number = usize::from(input.byte());
        let next = match place {
            Value::Object(fields) => {
                let number = number % fields.len().max(1);
                fields.values_mut().nth(number)
            }
            Value::Array(list) => {
                let number = number % list.len().max(1);
                list.get_mut(number)
            }
            _ => None,
        };
        if let Some(next) = next {
            return change_within(next, steps - 1, how, input, ram_bytes);
        }
    }
    let is_kept = how & 0x40 == 0;
    match place {
        Value::Array(list) if is_kept => match input.byte() % 3 {
            0 => drop(list.pop()),
            1 => list.extend(list.first().cloned()),
            _ => list.reverse(),
        },
        Value::Object(fields) if is_kept => change_fields(fields, input, ram_bytes),
        Value::Number(_) | Value::Bool(_) | Value::String(_) if is_kept => {
            *place = near(place, input, ram_bytes);
        }
        _ => *place = any(input, ram_bytes),
    }
}

/// Something of the same kind.
fn near(value: &Value, input: &mut Input<'_>, ram_bytes: u64) -> Value {
    match value {
        Value::Bool(is_so) => Value::Bool(!is_so),
        Value::Number(number) => match (input.byte() % 4, number.as_u64()) {
            (0, Some(number)) => (number ^ 1 << (input.byte() % 64)).into(),
            (1, Some(number)) => number.wrapping_add(1).into(),
            (2, Some(number)) => number.wrapping_sub(1).into(),
            _ => input.number(ram_bytes).into(),
        },
        Value::String(text) => {
            let mut bytes = text.clone().into_bytes();
            let at = usize::from(input.byte()) % bytes.len().max(1);
            match bytes.get_mut(at) {
                Some(byte) => *byte = input.byte(),
                None => bytes.push(input.byte()),
            }
            String::from_utf8_lossy(&bytes).into_owned().into()
        }
        other => other.clone(),
    }
}

/// Fields go, come, and change places.
fn change_fields(fields: &mut Map<String, Value>, input: &mut Input<'_>, ram_bytes: u64) {
    let names: Vec<String> = fields.keys().cloned().collect();
    let name = |input: &mut Input<'_>| {
        names.get(usize::from(input.byte()) % names.len().max(1)).cloned().unwrap_or_default()
    };
    match input.byte() % 3 {
        0 => drop(fields.remove(&name(input))),
        1 => drop(fields.insert("more".to_owned(), any(input, ram_bytes))),
        _ => {
            let (one, other) = (name(input), name(input));
            let mut values: BTreeMap<String, Value> =
                [&one, &other].into_iter().filter_map(|name| fields.remove_entry(name)).collect();
            let (first, second) = (values.remove(&one), values.remove(&other));
            fields.extend(first.map(|value| (other, value)));
            fields.extend(second.map(|value| (one, value)));
        }
    }
}

/// Something of any kind.
fn any(input: &mut Input<'_>, ram_bytes: u64) -> Value {
    match input.byte() % 7 {
        0 => Value::Null,
        1 => Value::Bool(input.byte() & 1 != 0),
        2 => input.number(ram_bytes).into(),
        3 => (-i64::from(input.byte())).into(),
        4 => String::from_utf8_lossy(input.bytes(8)).into_owned().into(),
        5 => Value::Array(vec![input.byte().into(); usize::from(input.byte() % 4)]),
        _ => Value::Object(Map::new()),
    }
}
