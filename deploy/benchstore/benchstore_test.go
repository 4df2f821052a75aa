package main

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// one row that every question's choice of a value finds.
const oneRow = `INSERT INTO flows (start, end, received, src_ip, dst_ip, dst_port, protocol, tls_sni, ja4, hassh, tls_cert_sha256, http_host, dns_names, user, app)
	VALUES ('2026-11-01 10:00:00', '2026-11-01 10:00:05', now(), '10.0.0.1', '192.0.2.1', 443, 6, 'example.org', 'j', 'h', 'c', 'example.org', ['example.org'], 'u', 'tls')`

// Every question finds values for its parameters and runs.
func TestQuestionsRun(t *testing.T) {
	db := localtest.Tables(t)
	localtest.Exec(t, db, oneRow)
	list, err := readQuestions(t.Context(), db, 90)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Errorf("%d questions, twenty are promised", len(list))
	}
	for _, q := range list {
		c, err := ask(t.Context(), db, q.sql, q.params)
		if err != nil {
			t.Errorf("%s: %v", q.file, err)
			continue
		}
		// Nothing ends in .ru, and the hour is one without flows.
		if wanted := q.title != "" && !strings.Contains(q.file, "suffix") && !strings.Contains(q.file, "hour"); wanted && c.rows == 0 {
			t.Errorf("%s finds nothing with %v", q.file, q.params)
		}
	}
}

// Every alternative changes what is shipped, and can be made and filled.
func TestAlternatives(t *testing.T) {
	db := localtest.Tables(t)
	localtest.Exec(t, db, oneRow)
	var shipped string
	if err := db.QueryRow(t.Context(), shippedSQL).Scan(&shipped); err != nil {
		t.Fatal(err)
	}
	for _, v := range alternatives() {
		create := v.apply(shipped)
		if (create == shipped) != (v.edits == nil) {
			t.Errorf("%s: changes nothing", v.name)
		}
		localtest.Exec(t, db, "DROP TABLE IF EXISTS variant SYNC")
		localtest.Exec(t, db, asVariant(create))
		localtest.Exec(t, db, "INSERT INTO variant ("+allColumns()+") SELECT "+allColumns()+" FROM flows")
		localtest.Expect(t, db, "SELECT count() FROM variant WHERE dst_ip = toIPv6('192.0.2.1') AND ja4 = 'j'", 1)
	}
}

// A record read back from the table is the record.
func TestRecordsFromTable(t *testing.T) {
	fields, err := fieldsOf()
	if err != nil {
		t.Fatal(err)
	}
	record := reflect.TypeFor[flow.Record]()
	for i, name := range flow.ColumnNames() {
		if fields[i] < 0 {
			continue
		}
		// Units are in the columns' names, and not in the fields'.
		field := strings.ToLower(record.Field(fields[i]).Name)
		column := strings.ReplaceAll(strings.TrimSuffix(name, "_us"), "_", "")
		if short := strings.TrimPrefix(column, "tls"); field != column && field != short && !strings.HasPrefix(column, field) && !strings.HasPrefix(field, "transaction") {
			t.Errorf("column %s is field %s", name, record.Field(fields[i]).Name)
		}
	}
	db := localtest.Tables(t)
	localtest.Exec(t, db, strings.Replace(strings.Replace(oneRow, "flows (", "flows (probe, conn_state, ", 1), "VALUES (", "VALUES ('probe-0', 'SF', ", 1))
	list, err := readRecords(t.Context(), db, 10)
	if err != nil {
		t.Fatal(err)
	}
	r := list[0]
	if len(list) != 1 || r.SrcIP.String() != "10.0.0.1" || r.TLSSNI != "example.org" || r.ConnState != flow.ConnSF || r.End-r.Start != 5e9 || len(r.DNSNames) != 1 || r.DstPort != 443 {
		t.Errorf("got %+v", list)
	}
	// The message of one flow holds it under the number of its column.
	b := appendSingle(nil, &r, fields)
	found := false
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		if flow.ColumnNames()[number-1] == "tls_sni" {
			s, _ := protowire.ConsumeString(b)
			found = s == "example.org"
		}
		b = b[protowire.ConsumeFieldValue(number, typ, b):]
	}
	if !found {
		t.Error("tls_sni is not in the message")
	}
}
