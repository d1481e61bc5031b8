import { getContainerRuntimeClient, ImageName } from 'testcontainers';

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
  return null;
}
