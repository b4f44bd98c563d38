//! Writes all mutants of a file into it at once, each behind a switch. Only one is ever on, so what a mutant
//! repeats of its surroundings is the original text.

use std::collections::HashMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{Genre, Mutant, Place, Span};

/// A file with its mutants: the text, and where each of them lies in it.
pub struct Mutated {
    pub text: String,
    pub places: Vec<(Range<usize>, usize)>,
    /// Those that a switch cannot express.
    pub left_out: Vec<usize>,
}

/// A stretch of the source that is written in another way.
struct Site {
    whole: Range<usize>,
    kind: Kind,
    mutants: Vec<usize>,
}

enum Kind {
    /// The inside of a function: it returns early.
    Body,
    /// Left and right of an operator.
    Binary(Range<usize>, Range<usize>),
    /// The operand after an operator.
    Unary(Range<usize>),
    Guard,
}

/// `wanted` are the numbers of the mutants of this file.
pub fn mutate(source: &str, all: &[Mutant], wanted: &[usize]) -> Mutated {
    let lines = Lines::of(source);
    let mut by_span: HashMap<(bool, Range<usize>), Vec<usize>> = HashMap::new();
    for number in wanted {
        let Some(mutant) = all.get(*number) else {
            continue;
        };
        let range = lines.range(mutant.span);
        by_span
            .entry((mutant.genre == Genre::FnValue, range))
            .or_default()
            .push(*number);
    }
    let tree = syn::parse_file(source).expect("Rust");
    let mut finder = Finder {
        lines: &lines,
        by_span,
        sites: Vec::new(),
        constant: false,
    };
    finder.visit_file(&tree);
    let mut sites = finder.sites;
    sites.sort_by_key(|site| (site.whole.start, usize::MAX - site.whole.end));
    let mut writer = Writer {
        source,
        all,
        sites: &sites,
        text: String::new(),
        places: Vec::new(),
    };
    writer.write(0..source.len(), 0);
    let found: Vec<usize> = sites.iter().flat_map(|site| site.mutants.clone()).collect();
    let left_out = wanted
        .iter()
        .copied()
        .filter(|number| !found.contains(number))
        .collect();
    Mutated {
        text: writer.text,
        places: writer.places,
        left_out,
    }
}

struct Finder<'a> {
    lines: &'a Lines,
    by_span: HashMap<(bool, Range<usize>), Vec<usize>>,
    sites: Vec<Site>,
    /// Inside what is computed while compiling, where no switch can be asked.
    constant: bool,
}

impl Finder<'_> {
    fn range(&self, node: &impl Spanned) -> Range<usize> {
        let span = node.span();
        self.lines.at(span.start())..self.lines.at(span.end())
    }

    fn site(&mut self, is_body: bool, at: &Range<usize>, whole: Range<usize>, kind: Kind) {
        if self.constant {
            return;
        }
        if let Some(mutants) = self.by_span.remove(&(is_body, at.clone())) {
            self.sites.push(Site {
                whole,
                kind,
                mutants,
            });
        }
    }

    fn function(
        &mut self,
        signature: &syn::Signature,
        block: &syn::Block,
        inside: impl FnOnce(&mut Self),
    ) {
        let before = self.constant;
        self.constant = signature.constness.is_some();
        // All branches of an `impl Trait` must be of one type.
        let opaque = matches!(&signature.output, syn::ReturnType::Type(_, of) if matches!(**of, syn::Type::ImplTrait(_)));
        if !opaque && let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) {
            let whole = self.range(first).start..self.range(last).end;
            self.site(true, &whole.clone(), whole, Kind::Body);
        }
        inside(self);
        self.constant = before;
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block, |this| {
            visit::visit_item_fn(this, item)
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block, |this| {
            visit::visit_impl_item_fn(this, item)
        });
    }

    fn visit_item_const(&mut self, _item: &'ast syn::ItemConst) {}

    fn visit_impl_item_const(&mut self, _item: &'ast syn::ImplItemConst) {}

    fn visit_item_static(&mut self, _item: &'ast syn::ItemStatic) {}

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let at = self.range(&binary.op);
        let (left, right) = (self.range(&*binary.left), self.range(&*binary.right));
        if !has_let(&binary.left) && !has_let(&binary.right) {
            let whole = left.start..right.end;
            self.site(false, &at, whole, Kind::Binary(left, right));
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let at = self.range(&unary.op);
        let operand = self.range(&*unary.expr);
        self.site(false, &at, at.start..operand.end, Kind::Unary(operand));
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_if, guard)) = &arm.guard
            && !has_let(guard)
        {
            let whole = self.range(&**guard);
            self.site(false, &whole.clone(), whole, Kind::Guard);
        }
        visit::visit_arm(self, arm);
    }
}

/// Whether this is a chain with `let`: such a condition cannot be an operand.
fn has_let(condition: &syn::Expr) -> bool {
    match condition {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

struct Writer<'a> {
    source: &'a str,
    all: &'a [Mutant],
    sites: &'a [Site],
    text: String,
    places: Vec<(Range<usize>, usize)>,
}

impl Writer<'_> {
    fn original(&self, range: &Range<usize>) -> &str {
        &self.source[range.clone()]
    }

    /// A stretch with every site in it; `from` is the first site that may lie there.
    fn write(&mut self, range: Range<usize>, from: usize) {
        let mut at = range.start;
        let mut next = from;
        while let Some(site) = self.sites.get(next) {
            if site.whole.start >= range.end {
                break;
            }
            if site.whole.start < at || site.whole.end > range.end {
                next += 1;
                continue;
            }
            self.text.push_str(&self.source[at..site.whole.start]);
            self.site(site, next + 1);
            at = site.whole.end;
            next += 1;
        }
        self.text.push_str(&self.source[at..range.end]);
    }

    fn site(&mut self, site: &Site, inner: usize) {
        match &site.kind {
            Kind::Body => {
                for number in &site.mutants {
                    let value = &self.all[*number].replacement;
                    self.placed(
                        *number,
                        format!("if crate::mutant::on({number}) {{ return {value}; }}\n"),
                    );
                }
                self.write(site.whole.clone(), inner);
            }
            Kind::Binary(left, right) => {
                self.text.push_str("({ ");
                for number in &site.mutants {
                    let operator = &self.all[*number].replacement;
                    let (left, right) = (self.original(left), self.original(right));
                    let text = format!(
                        "if crate::mutant::on({number}) {{ {left} {operator} {right} }} else "
                    );
                    self.placed(*number, text);
                }
                self.text.push_str("{ ");
                self.write(site.whole.clone(), inner);
                self.text.push_str(" } })");
            }
            Kind::Unary(operand) => {
                self.text.push_str("({ ");
                for number in &site.mutants {
                    let operator = &self.all[*number].replacement;
                    let operand = self.original(operand);
                    let text =
                        format!("if crate::mutant::on({number}) {{ {operator}{operand} }} else ");
                    self.placed(*number, text);
                }
                self.text.push_str("{ ");
                self.write(site.whole.clone(), inner);
                self.text.push_str(" } })");
            }
            Kind::Guard => {
                self.text.push_str("({ ");
                for number in &site.mutants {
                    let value = &self.all[*number].replacement;
                    self.placed(
                        *number,
                        format!("if crate::mutant::on({number}) {{ {value} }} else "),
                    );
                }
                self.text.push_str("{ ");
                self.write(site.whole.clone(), inner);
                self.text.push_str(" } })");
            }
        }
    }

    fn placed(&mut self, number: usize, text: String) {
        let start = self.text.len();
        self.text.push_str(&text);
        self.places.push((start..self.text.len(), number));
    }
}

/// Where the lines of a file begin.
struct Lines {
    starts: Vec<usize>,
    text: String,
}

impl Lines {
    fn of(text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self {
            starts,
            text: text.to_owned(),
        }
    }

    /// Columns count characters.
    fn offset(&self, line: usize, characters: usize) -> usize {
        let start = self
            .starts
            .get(line - 1)
            .copied()
            .unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        rest.char_indices()
            .nth(characters)
            .map_or(self.text.len(), |(at, _)| start + at)
    }

    fn at(&self, place: proc_macro2::LineColumn) -> usize {
        self.offset(place.line, place.column)
    }

    fn range(&self, span: Span) -> Range<usize> {
        let offset = |place: Place| self.offset(place.line, place.column - 1);
        offset(span.start)..offset(span.end)
    }
}
