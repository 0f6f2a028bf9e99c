//! From the parser's tree to the one that is evaluated. Owns the checks of names and the renaming that goes with them: variables get
//! their full name, so that no field is looked up twice and every read of one is seen by the resolver; patterns get compiled;
//! functions without bound are replaced by ours. Must never evaluate.

use cel::common::{
    ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators,
    },
    types::CelBool,
};

use super::{
    ExprError, MAX_COMPREHENSION_DEPTH, MAX_COMPREHENSIONS, MAX_NODES, Pattern, Position, Variable,
    library::MATCHES,
    vocabulary::{FUNCTIONS, Field, Function, MACROS, PRINCIPAL, REQUEST, ROOTS, TYPES, nearest},
};

/// One walk over an expression.
pub(super) struct Lowering<'s> {
    source: &'s str,
    info: &'s SourceInfo,
    /// Variables of the comprehensions around the node at hand.
    scope: Vec<String>,
    patterns: Vec<Pattern>,
    nodes: usize,
    loops: usize,
    loop_depth: usize,
    deepest_loop: usize,
}

impl<'s> Lowering<'s> {
    pub(super) fn new(source: &'s str, info: &'s SourceInfo) -> Self {
        Self {
            source,
            info,
            scope: Vec::new(),
            patterns: Vec::new(),
            nodes: 0,
            loops: 0,
            loop_depth: 0,
            deepest_loop: 0,
        }
    }

    /// Whether loops stand inside of loops.
    pub(super) fn nested(&self) -> bool {
        self.deepest_loop > 1
    }

    pub(super) fn into_patterns(self) -> Vec<Pattern> {
        self.patterns
    }

    pub(super) fn lower(&mut self, ast: IdedExpr) -> Result<IdedExpr, ExprError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ExprError::TooManyOperations);
        }
        let id = ast.id;
        let expr = match ast.expr {
            Ast::Ident(name) => Ast::Ident(self.variable(id, name)?),
            Ast::Select(select) => self.select(id, select)?,
            Ast::Call(call) => self.call(id, call)?,
            Ast::Comprehension(each) => Ast::Comprehension(Box::new(self.comprehension(id, *each)?)),
            Ast::List(mut list) => {
                list.elements = self.all(list.elements)?;
                Ast::List(list)
            }
            Ast::Map(mut map) => {
                for entry in &mut map.entries {
                    // The interpreter panics on a field among the entries of a map; the parser makes none.
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else { return Err(ExprError::Parser) };
                    entry.key = self.lower(std::mem::take(&mut entry.key))?;
                    entry.value = self.lower(std::mem::take(&mut entry.value))?;
                }
                Ast::Map(map)
            }
            Ast::Literal(literal) => Ast::Literal(literal),
            Ast::Struct(message) => return Err(ExprError::Message { at: self.at(id), name: message.type_name }),
            Ast::Unspecified => return Err(ExprError::Parser),
        };
        Ok(IdedExpr { id, expr })
    }

    fn all(&mut self, parts: Vec<IdedExpr>) -> Result<Vec<IdedExpr>, ExprError> {
        parts.into_iter().map(|part| self.lower(part)).collect()
    }

    // --- variables ---

    fn is_bound(&self, name: &str) -> bool {
        self.scope.iter().any(|own| own == name)
    }

    /// The name of a variable that stands alone.
    fn variable(&self, id: u64, name: String) -> Result<String, ExprError> {
        if self.is_bound(&name) {
            return Ok(name);
        }
        match name.as_str() {
            "principal" => {
                Err(ExprError::NotAValue { at: self.at(id), name: "principal", fields: list(names(&PRINCIPAL)) })
            }
            "request" => Err(ExprError::NotAValue { at: self.at(id), name: "request", fields: list(names(&REQUEST)) }),
            known if ROOTS.contains(&known) || TYPES.contains(&known) => Ok(name),
            _ => {
                let known = ROOTS.into_iter().chain(self.scope.iter().map(String::as_str));
                let advice = nearest(name.trim_start_matches('.'), known)
                    .map_or_else(|| format!("there are {}", list(ROOTS)), |near| format!("did you mean `{near}`?"));
                Err(ExprError::UnknownVariable { at: self.at(id), name, advice })
            }
        }
    }

    /// The variable that `ast` names, if it is a field of `principal` or `request`, or one of the other two.
    fn field_of(&self, id: u64, ast: &IdedExpr, field: &str) -> Result<Option<Variable>, ExprError> {
        let Ast::Ident(root) = &ast.expr else { return Ok(None) };
        if self.is_bound(root) {
            return Ok(None);
        }
        let unknown = |of, fields: Vec<&'static str>| {
            let advice = nearest(field, fields.iter().copied()).map_or_else(
                || format!("there are {}", list(fields.iter().copied())),
                |near| format!("did you mean `{near}`?"),
            );
            ExprError::UnknownField { at: self.after_dot(id), of, name: field.to_owned(), advice }
        };
        match root.as_str() {
            "principal" => match Field::named(field) {
                Some(field) => Ok(Some(Variable::Principal(field))),
                None => Err(unknown("principal", names(&PRINCIPAL).collect())),
            },
            "request" => match REQUEST.iter().find(|(name, _)| *name == field) {
                Some((_, variable)) => Ok(Some(*variable)),
                None => Err(unknown("request", names(&REQUEST).collect())),
            },
            _ => Ok(None),
        }
    }

    fn select(&mut self, id: u64, select: SelectExpr) -> Result<Ast, ExprError> {
        let SelectExpr { operand, field, test } = select;
        if let Some(variable) = self.field_of(id, &operand, &field)? {
            return Ok(match (test, variable) {
                (false, variable) => Ast::Ident(variable.name()),
                // Always set, as a request's fields are.
                (true, Variable::Principal(Field::Type)) => Ast::Literal(LiteralValue::Boolean(CelBool::from(true))),
                (true, Variable::Principal(field)) => Ast::Ident(Variable::HasPrincipal(field).name()),
                (true, _) => Ast::Literal(LiteralValue::Boolean(CelBool::from(true))),
            });
        }
        let operand = self.lookup(*operand)?;
        if let Some(variable) = self.known(&operand) {
            if !variable.is_map() {
                return Err(ExprError::NoMembers { at: self.after_dot(id), of: variable.name(), member: field });
            }
            self.header_case(id, variable, &field)?;
        }
        Ok(Ast::Select(SelectExpr { operand: Box::new(operand), field, test }))
    }

    /// Lowers what members are looked up in; maps of the request answer for single members.
    fn lookup(&mut self, ast: IdedExpr) -> Result<IdedExpr, ExprError> {
        let mut ast = self.lower(ast)?;
        if let Some(variable) = self.known(&ast) {
            ast.expr = Ast::Ident(variable.lookup().name());
        }
        Ok(ast)
    }

    /// The variable that a lowered node is.
    fn known(&self, ast: &IdedExpr) -> Option<Variable> {
        match &ast.expr {
            Ast::Ident(name) if !self.is_bound(name) => Variable::named(name),
            _ => None,
        }
    }

    fn header_case(&self, id: u64, variable: Variable, name: &str) -> Result<(), ExprError> {
        let lower = name.to_ascii_lowercase();
        if variable == Variable::HeadersLookup && lower != name {
            return Err(ExprError::HeaderCase { at: self.at(id), name: name.to_owned(), lower });
        }
        Ok(())
    }

    // --- calls ---

    fn call(&mut self, id: u64, call: CallExpr) -> Result<Ast, ExprError> {
        match (call.func_name.as_str(), call.target) {
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, None) => {
                self.index(id, call.func_name, call.args, 0)
            }
            (operators::IN, None) => self.index(id, call.func_name, call.args, 1),
            (name, None) if is_operator(name) => {
                Ok(Ast::Call(CallExpr { args: self.all(call.args)?, func_name: call.func_name, target: None }))
            }
            (_, target) => self.function(id, call.func_name, target.map(|target| *target), call.args),
        }
    }

    /// A look-up in the argument number `map`; the other argument is the key.
    fn index(&mut self, id: u64, func_name: String, args: Vec<IdedExpr>, map: usize) -> Result<Ast, ExprError> {
        if let [Some(operand), Some(key)] = [args.first(), args.get(1)]
            && let (operators::OPT_SELECT, Ast::Literal(LiteralValue::String(field))) = (func_name.as_str(), &key.expr)
            && let Some(variable) = self.field_of(id, operand, field.inner())?
        {
            return Err(ExprError::Syntax {
                at: self.at(id),
                problem: format!("fields are always there; write `{}`, or test it with has()", variable.name()),
            });
        }
        let mut lowered = Vec::with_capacity(args.len());
        for (index, arg) in args.into_iter().enumerate() {
            lowered.push(if index == map { self.lookup(arg)? } else { self.lower(arg)? });
        }
        if let Some(variable) = lowered.get(map).and_then(|operand| self.known(operand))
            && let Some(Ast::Literal(LiteralValue::String(key))) = lowered.get(1 - map).map(|key| &key.expr)
        {
            self.header_case(id, variable, key.inner())?;
        }
        Ok(Ast::Call(CallExpr { func_name, target: None, args: lowered }))
    }

    fn function(
        &mut self,
        id: u64,
        name: String,
        target: Option<IdedExpr>,
        args: Vec<IdedExpr>,
    ) -> Result<Ast, ExprError> {
        // `optional.of(x)` reads like a method of a variable.
        let (name, target) = match target {
            Some(IdedExpr { expr: Ast::Ident(space), .. }) if space == "optional" && !self.is_bound(&space) => {
                (format!("{space}.{name}"), None)
            }
            target => (name, target),
        };
        let function = self.known_function(id, &name, target.is_some(), args.len())?;
        let mut parts: Vec<IdedExpr> = Vec::with_capacity(args.len() + 1);
        let (target, args) = match function.bounded {
            // Ours are functions, whose first argument is what the method was called on.
            Some(_) => (None, target.into_iter().chain(args).collect()),
            None => (target, args),
        };
        let func_name = function.bounded.unwrap_or(function.name).to_owned();
        let target = target.map(|target| self.lower(target)).transpose()?.map(Box::new);
        for (index, arg) in args.into_iter().enumerate() {
            parts.push(if func_name == MATCHES && index == 1 { self.pattern(&arg)? } else { self.lower(arg)? });
        }
        Ok(Ast::Call(CallExpr { func_name, target, args: parts }))
    }

    fn known_function(
        &self,
        id: u64,
        name: &str,
        method: bool,
        arguments: usize,
    ) -> Result<&'static Function, ExprError> {
        let at = self.at_name(id, name);
        if let Some((_, takes)) = MACROS.iter().find(|(own, _)| *own == name) {
            return Err(ExprError::Arguments { at, name: name.to_owned(), takes: (*takes).to_owned() });
        }
        let same: Vec<&'static Function> = FUNCTIONS.iter().filter(|own| own.name == name).collect();
        let Some(function) = same.iter().find(|own| own.method == method) else {
            let (kind, other) = if method { ("method", "function") } else { ("function", "method") };
            let known = FUNCTIONS
                .iter()
                .filter(|own| own.method == method)
                .map(|own| own.name)
                .chain(MACROS.map(|(name, _)| name));
            let advice = match (same.is_empty(), nearest(name, known)) {
                (false, _) if method => format!("; it is a {other}, as in {name}(x)"),
                (false, _) => format!("; it is a {other}, as in x.{name}()"),
                (true, Some(near)) => format!("; did you mean `{near}()`?"),
                (true, None) => String::new(),
            };
            return Err(ExprError::UnknownFunction { at, kind, name: name.to_owned(), advice });
        };
        if !function.arguments.contains(&arguments) {
            let (least, most) = (function.arguments.start(), function.arguments.end());
            let takes = if least == most { format!("{least}") } else { format!("{least} or {most}") };
            let plural = if *most == 1 { "" } else { "s" };
            return Err(ExprError::Arguments { at, name: name.to_owned(), takes: format!("{takes} argument{plural}") });
        }
        Ok(function)
    }

    fn pattern(&mut self, ast: &IdedExpr) -> Result<IdedExpr, ExprError> {
        let at = self.at(ast.id);
        let Ast::Literal(LiteralValue::String(source)) = &ast.expr else {
            return Err(ExprError::ComputedPattern { at });
        };
        let pattern = Pattern::compile(source.inner()).map_err(|problem| ExprError::BadPattern { at, problem })?;
        let name = Variable::Pattern(self.patterns.len()).name();
        self.patterns.push(pattern);
        Ok(IdedExpr { id: ast.id, expr: Ast::Ident(name) })
    }

    // --- comprehensions ---

    fn comprehension(&mut self, id: u64, each: ComprehensionExpr) -> Result<ComprehensionExpr, ExprError> {
        // `optMap` binds a variable in a comprehension over nothing, which is no loop.
        let looping = !matches!(&each.iter_range.expr, Ast::List(list) if list.elements.is_empty());
        self.loops += usize::from(looping);
        if self.loops > MAX_COMPREHENSIONS {
            return Err(ExprError::TooManyLoops { at: self.at(id) });
        }
        let iter_range = self.lower(each.iter_range)?;
        let accu_init = self.lower(each.accu_init)?;
        self.loop_depth += usize::from(looping);
        self.deepest_loop = self.deepest_loop.max(self.loop_depth);
        if self.loop_depth > MAX_COMPREHENSION_DEPTH {
            return Err(ExprError::LoopsTooDeep { at: self.at(id) });
        }
        let depth = self.scope.len();
        self.scope.extend([each.iter_var.clone(), each.accu_var.clone()]);
        let loop_cond = self.lower(each.loop_cond)?;
        let loop_step = self.lower(each.loop_step)?;
        let result = self.lower(each.result)?;
        self.scope.truncate(depth);
        self.loop_depth -= usize::from(looping);
        Ok(ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, ..each })
    }

    // --- places ---

    fn offset(&self, id: u64) -> usize {
        self.info.offset_for(id).and_then(|(start, _)| usize::try_from(start).ok()).unwrap_or(0)
    }

    fn at(&self, id: u64) -> Position {
        Position::of(self.source, self.offset(id))
    }

    /// A selection is placed at its dot.
    fn after_dot(&self, id: u64) -> Position {
        Position::of(self.source, self.offset(id) + 1)
    }

    /// A call is placed at its bracket; the name stands before it.
    fn at_name(&self, id: u64, name: &str) -> Position {
        let name = name.rsplit('.').next().unwrap_or(name);
        let offset = self.offset(id);
        let before = self.source.get(..offset).unwrap_or_default();
        Position::of(self.source, if before.ends_with(name) { offset.saturating_sub(name.len()) } else { offset })
    }
}

/// The names that the parser gives to signs: none of them is an identifier.
fn is_operator(name: &str) -> bool {
    name.starts_with(['@', '_', '!', '-'])
        && (name.starts_with('@') || name.contains(|sign: char| sign.is_ascii_punctuation() && sign != '_'))
}

fn names<T>(table: &'static [(&'static str, T)]) -> impl Iterator<Item = &'static str> {
    table.iter().map(|(name, _)| *name)
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
