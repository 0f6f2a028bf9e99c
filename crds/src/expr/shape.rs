//! What an expression yields, told from its text alone. Owns the refusal of conditions that never hold and of headers that never
//! have a value.

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators};

use super::{
    ExprError, Place, Variable,
    vocabulary::{FUNCTIONS, Shape, TYPES},
};

/// Refuses what can never be right in `place`.
pub(super) fn suits(ast: &IdedExpr, place: Place) -> Result<(), ExprError> {
    match (place, shape(ast)) {
        (Place::Condition, Shape::Scalar | Shape::Collection | Shape::NotBool) => Err(ExprError::NeverBool),
        (Place::Header, Shape::Collection) => Err(ExprError::NeverText),
        _ => Ok(()),
    }
}

/// What `ast` yields, as far as it can be told without a request.
fn shape(ast: &IdedExpr) -> Shape {
    match &ast.expr {
        Ast::Literal(LiteralValue::Boolean(_)) => Shape::Bool,
        Ast::Literal(LiteralValue::Null) => Shape::NotBool,
        Ast::Literal(_) => Shape::Scalar,
        Ast::List(_) | Ast::Map(_) | Ast::Struct(_) => Shape::Collection,
        Ast::Select(select) if select.test => Shape::Bool,
        Ast::Ident(name) if TYPES.contains(&name.as_str()) => Shape::Collection,
        Ast::Ident(name) => Variable::named(name).map_or(Shape::Any, Variable::shape),
        Ast::Comprehension(each) => match &each.result.expr {
            Ast::Ident(name) if *name == each.accu_var => shape(&each.accu_init),
            _ => shape(&each.result),
        },
        Ast::Call(call) => match call.func_name.as_str() {
            operators::CONDITIONAL => match (call.args.get(1).map(shape), call.args.get(2).map(shape)) {
                (Some(one), Some(other)) if one == other => one,
                (Some(Shape::Bool | Shape::Any), _) | (_, Some(Shape::Bool | Shape::Any)) => Shape::Any,
                _ => Shape::NotBool,
            },
            operators::INDEX => Shape::Any,
            operators::OPT_INDEX | operators::OPT_SELECT | operators::ADD => Shape::NotBool,
            operators::NEGATE | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
                Shape::Scalar
            }
            // What is no function is one of the other operators, all of which yield bools.
            name => FUNCTIONS
                .iter()
                .find(|own| match own.bounded {
                    Some(bounded) => bounded == name,
                    None => own.name == name && own.method == call.target.is_some(),
                })
                .map_or(Shape::Bool, |own| own.result),
        },
        Ast::Select(_) | Ast::Unspecified => Shape::Any,
    }
}
