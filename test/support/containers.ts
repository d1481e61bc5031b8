import { spawnSync } from 'node:child_process';
import { getContainerRuntimeClient, getReaper, ImageName } from 'testcontainers';

/** Why no container can be had here; null where an engine answers. */
export async function whyNoContainers(): Promise<string | null> {
  try {
    await getContainerRuntimeClient();
    return null;
  } catch (error) {
    return `no Docker engine answers: ${(error as Error).message}`;
  }
}

/** Why containers of these images cannot be had here; null where they can. Images that are not there are fetched. */
export async function whyNoImages(images: readonly string[]): Promise<string | null> {
  const trouble = await whyNoContainers();
  if (trouble !== null) return trouble;
  const client = await getContainerRuntimeClient();
  for (const image of images) {
    try {
      await client.image.pull(ImageName.fromString(image));
    } catch (error) {
      return `the image ${image} cannot be fetched: ${(error as Error).message}`;
    }
  }
  try {
    // It removes containers that we leave behind when we are killed, and is one itself.
    await getReaper(client);
    return null;
  } catch (error) {
    return `no container can be started: ${(error as Error).message}`;
  }
}

/** Why there is no `docker compose` here; null where there is. */
export function whyNoCompose(): string | null {
  const { status, error, stderr } = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8' });
  return status === 0 ? null : `no docker compose: ${error?.message ?? stderr.trim().split('\n')[0]}`;
}
