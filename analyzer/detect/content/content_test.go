package content_test

import (
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/content"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector {
	c := content.DefaultConfig()
	c.TLSRisk.InternalCA = []string{"O=Example Corp"}
	return content.All(detecttest.Own(), c)
}

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) {
	detecttest.Readme(t, content.All(detecttest.Own(), content.DefaultConfig()))
}
