//! What the parser accepts, and what it says of the rest.

use super::*;
use proptest::prelude::*;

const VALID: &[&str] = &[
    r#"table == "cues" AND is_called == true AND NOT is_archived"#,
    r#"department IN ["lighting", 'sound'] or name LIKE "Jane%""#,
    "email exists AND due < $now",
    "field == null ORDER BY cue_number DESC, label LIMIT 50 OFFSET 100",
    r"(`Cue #` >= -1.5e3 OR a <> 'it\'s') and not (b = false)",
    "lighting.cues exists",
    "",
    "order by x asc",
];

const WORDS: &[&str] = &[
    "a", "`b c`", "'x'", "\"", "'", "`", "==", "<", "-", "1", "1.5", "(", ")", "[", "]", ",", "NOT", "AND", "OR", "IN",
    "LIKE", "exists", "ORDER", "BY", "DESC", "LIMIT", "OFFSET", "table", "null", "$now", "$", "\\", ".", "é",
];

fn error(text: &str) -> QueryError {
    parse(text).unwrap_err()
}

#[test]
fn the_language_parses() {
    for text in VALID {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn not_binds_closer_than_and_and_and_closer_than_or() {
    let same = |a, b| assert_eq!(shape(&parse(a).unwrap().filter.unwrap()), b);
    same("NOT a AND b OR c", "(or (and (not a) b) c)");
    same("a OR b AND c", "(or a (and b c))");
    same("(a OR b) AND NOT NOT c", "(and (or a b) (not (not c)))");
    same("a AND (b AND c)", "(and a b c)");
    same("NOT a == 1", "(not a)");
}

fn shape(expr: &Expr) -> String {
    let several =
        |word: &str, parts: &[Expr]| format!("({word} {})", parts.iter().map(shape).collect::<Vec<_>>().join(" "));
    match expr {
        Expr::And(parts) => several("and", parts),
        Expr::Or(parts) => several("or", parts),
        Expr::Not(inner) => format!("(not {})", shape(inner)),
        Expr::Table(table) => table.name.to_string(),
        Expr::Test(test) => test.subject.name.to_string(),
    }
}

#[test]
fn errors_say_where_and_what_instead() {
    let cases = [
        ("label ==", 9, "Here the query ends, where a value should be."),
        ("label == x", 10, "Here `x` stands, where a value should be."),
        ("label == 'x", 10, "This text has no end."),
        ("'x' == label", 1, "A comparison begins with a column, not with a value."),
        ("limit == 5", 7, "Here `==` stands, where a whole number should be."),
        ("a == 1 AND limit == 5", 12, "Here `limit` stands, a word of the query language, where a column should be."),
        ("cue-number == 1", 4, "`-` has no meaning here."),
        ("1st == 1", 1, "This begins like a number and goes on otherwise."),
        ("a == $actor", 6, "`$actor` is not known here."),
        ("a MATCHES '^x'", 3, "MATCHES is not known yet."),
        ("a->target.name == 'x'", 2, "Edges cannot be followed in a query yet."),
        ("a == 1 b == 2", 8, "Here `b` stands, where AND, OR, ORDER BY, LIMIT or the end of the query should be."),
        ("a IN [1 2]", 9, "Here a number stands, where `,` or `]` should be."),
        ("(a == 1", 8, "Here the query ends, where `)` should be."),
        ("a OR table == 'x'", 15, "A query is about exactly one table."),
        ("table == 'y' AND table == 'x'", 27, "A query is about exactly one table."),
        ("a LIMIT -1", 9, "-1 is not a number of rows between 0 and 1000000."),
        ("a == 99999999999999999999", 6, "This number is too large."),
        (r"a == '\q'", 7, "This backslash begins nothing that is known."),
    ];
    for (text, column, message) in cases {
        let error = error(text);
        assert_eq!((error.position.column, error.message.as_str()), (column, message), "{text}");
    }
}

#[test]
fn limits_hold() {
    let deep = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&deep(MAX_DEPTH)).is_ok());
    assert!(error(&deep(MAX_DEPTH + 1)).message.contains("deeper"));
    assert!(error(&deep(8_000)).message.contains("deeper"));
    assert!(error(&deep(100_000)).message.contains("longer"));
    assert!(parse(&format!("{}a", "NOT ".repeat(MAX_DEPTH))).is_ok());
    assert!(error(&format!("{}a", "NOT ".repeat(4_000))).message.contains("deeper"));
    assert!(parse(&format!("a IN [{}1]", "1,".repeat(MAX_IN_ITEMS - 1))).is_ok());
    assert!(error(&format!("a IN [{}1]", "1,".repeat(MAX_IN_ITEMS))).message.contains("IN has more"));
    assert!(parse(&format!("a{}", " AND a".repeat(2_500))).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_soup_of_words_makes_the_parser_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..20), gap in prop::sample::select(&["", " "]),
    ) {
        let _ = parse(&words.join(gap));
    }

    #[test]
    fn no_mutation_of_a_valid_query_makes_the_parser_panic(
        which in 0..VALID.len(), at in any::<prop::sample::Index>(), cut in 0_usize..4, put in "\\PC{0,3}",
    ) {
        let mut chars: Vec<char> = VALID[which].chars().collect();
        let from = at.index(chars.len() + 1);
        chars.splice(from..(from + cut).min(chars.len()), put.chars());
        let _ = parse(&chars.into_iter().collect::<String>());
    }
}
