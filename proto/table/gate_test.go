package table_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// begins a statement, or goes on with one.
var statement = regexp.MustCompile(`(?i)^\s*(SELECT|WITH|INSERT INTO|ALTER TABLE|DELETE FROM|CREATE|DROP|TRUNCATE|OPTIMIZE|BACKUP|RESTORE|KILL|RENAME|SYSTEM|EXPLAIN)\s|\b(FROM|WHERE|HAVING|GROUP BY|ORDER BY)\s`)

// shouted: our SQL has its words in capitals, and text for people has not.
var shouted = regexp.MustCompile(`[A-Z]{4}`)

// pieces are what SQL is joined from, by package. Values are none of them: those
// go to the server as parameters, also where they are an operator's.
var pieces = map[string]string{
	"proto/local":                "its own constants: macro and database of the embedded server",
	"proto/local/localtest":      "names that tests choose",
	"proto/table":                "names of our tables and columns; names of the cluster and its databases, quoted",
	"collector/enrich":           "names of our tables, expressions over our columns",
	"collector/retain":           "names of our tables and columns, days as numbers, partitions that were read as a date, places of backups, quoted",
	"proto/rollup":               "names of our tables and columns",
	"collector/store":            "names of our columns",
	"analyzer":                   "what analyzer/query made, names of our columns",
	"analyzer/alert":             "names of our columns",
	"analyzer/console":           "what analyzer/query made, names of our columns by an allow-list",
	"analyzer/detect":            "columns of the structs that rows are read into",
	"analyzer/detect/content":    "columns of a struct that rows are read into",
	"analyzer/detect/detecttest": "columns of flows that scenarios name",
	"analyzer/rule":              "what analyzer/query made, columns of its registry, and words of its own",
	"analyzer/query":             "tables and columns of its own lists, and placeholders, see its proof",
}

// formats are the packages whose formats are SQL: they put in names of ours.
var formats = map[string]bool{"proto/rollup": true}

// S4: no SQL is built from data. Text that looks like SQL is no format, and is
// joined only in packages that say from what.
func TestNoSQLFromData(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.work")); err != nil {
		t.Skipf("the other modules are not there: %v", err)
	}
	seen := map[string]bool{}
	for _, module := range []string{"proto", "probe", "collector", "analyzer"} {
		err := filepath.WalkDir(filepath.Join(root, module), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".pb.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			where, err := filepath.Rel(root, filepath.Dir(name))
			if err != nil {
				return err
			}
			for _, text := range sqlIn(file) {
				if seen[where] = true; pieces[where] == "" {
					t.Errorf("%s: SQL is joined from pieces, and pieces of this test does not say which: %.100q", name, text)
				}
			}
			for _, text := range sqlFormats(file) {
				if !formats[where] {
					t.Errorf("%s: SQL is made by a format; give values as parameters: %.100q", name, text)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for where := range pieces {
		if !seen[where] {
			t.Errorf("%s: no SQL is joined there any more", where)
		}
	}
}

// sqlFormats are the formats of a file that look like SQL.
func sqlFormats(file *ast.File) (texts []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Sprintf", "Fprintf", "Appendf"}, f.Sel.Name) {
			return true
		}
		for _, a := range call.Args {
			if text, ok := literalOf(a); ok && strings.Contains(text, "%") && looksLikeSQL(text) {
				texts = append(texts, text)
			}
		}
		return true
	})
	return texts
}

// sqlIn are the literals of SQL in a file that are joined with what is no literal.
func sqlIn(file *ast.File) (texts []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		sum, ok := n.(*ast.BinaryExpr)
		if !ok || sum.Op != token.ADD {
			return true
		}
		sql, other := "", false
		var walk func(ast.Expr)
		walk = func(e ast.Expr) {
			if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.ADD {
				walk(b.X)
				walk(b.Y)
				return
			}
			text, literal := literalOf(e)
			if literal && looksLikeSQL(text) {
				sql = text
			}
			other = other || !literal
		}
		walk(sum)
		if sql != "" && other {
			texts = append(texts, sql)
		}
		return false
	})
	return texts
}

func looksLikeSQL(text string) bool { return statement.MatchString(text) && shouted.MatchString(text) }

func literalOf(e ast.Expr) (string, bool) {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		text, err := strconv.Unquote(l.Value)
		return text, err == nil
	}
	return "", false
}
