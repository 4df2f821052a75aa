package console

import (
	"bytes"
	"context"
	"errors"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/report"
)

type fileOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

// report makes the report of one alert, in one of two forms.
func (c *Console) report(ctx context.Context, id, extension, kind string, write func(*report.Incident, *bytes.Buffer) error) (*fileOutput, error) {
	maker, err := report.NewMaker(report.DefaultConfig(), c.stores.conn, c.cfg.Inside, nil)
	if err != nil {
		return nil, err
	}
	i, err := maker.Incident(ctx, id)
	if errors.Is(err, incident.ErrUnknown) {
		return nil, huma.Error404NotFound("no alert has the id " + layoutSafe(id))
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := write(i, &b); err != nil {
		return nil, err
	}
	return &fileOutput{ContentType: kind, Disposition: `attachment; filename="incident.` + extension + `"`, Body: b.Bytes()}, nil
}

func (c *Console) reportHTML(ctx context.Context, in *alertInput) (*fileOutput, error) {
	return c.report(ctx, in.ID, "html", "text/html; charset=utf-8", func(i *report.Incident, b *bytes.Buffer) error { return i.HTML(b) })
}

func (c *Console) reportJSON(ctx context.Context, in *alertInput) (*fileOutput, error) {
	return c.report(ctx, in.ID, "json", "application/json", func(i *report.Incident, b *bytes.Buffer) error { return i.JSON(b) })
}

func (c *Console) reportRoutes(api huma.API) {
	register(c, api, "get-alert-report-html", "/api/v1/alerts/{id}/report.html", "Report of an alert", "Timeline, flows and statement as one file to print or to pass on.", c.reportHTML)
	register(c, api, "get-alert-report-json", "/api/v1/alerts/{id}/report.json", "Report of an alert as JSON", "The same for programs.", c.reportJSON)
}
