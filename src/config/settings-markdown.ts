import { settingGroups } from './settings-table.ts';

/**
 * README's table of all settings, as Markdown: a heading and a table per group, made from the settings table
 * so that the two cannot part.
 */
export function renderSettingsMarkdown(): string {
  const parts: string[] = [];
  for (const { title, rows } of settingGroups) {
    parts.push(`#### ${title}`, '');
    parts.push('| Setting | Default | Applied by | What it does |', '| --- | --- | --- | --- |');
    for (const [name, row] of Object.entries(rows)) {
      const applied = row.reloadable ? 'RELOAD' : 'restart';
      const later = row.effect === 'yes' ? '' : ' **No effect yet.**';
      parts.push(`| \`${name}\` | ${cell(row.default)} | ${applied} | ${escapePipes(row.doc)}${later} |`);
    }
    parts.push('');
  }
  return parts.join('\n');
}

function cell(value: string | null): string {
  return value === null || value === '' ? '' : `\`${escapePipes(value)}\``;
}

function escapePipes(text: string): string {
  return text.replaceAll('|', '\\|');
}
